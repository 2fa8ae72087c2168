"""The processes around the kernel: worker, serverless function, HTTP service and command line."""
