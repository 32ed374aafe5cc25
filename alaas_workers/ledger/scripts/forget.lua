-- Takes everything of a job out of the ledger. ARGV: job.
return forget_job(ARGV[1])
