-- wrk's part of the signed request: a POST with the body that was signed.
wrk.method = "POST"
wrk.body = "{}"
