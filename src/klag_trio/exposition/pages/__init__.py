"""What the pages for people show: pure view models, from reports and the parameters of a request."""
