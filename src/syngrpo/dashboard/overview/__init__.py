"""The tab Overview: is the run healthy?"""
