package redisconn

import "log/slog"

// What the tests outside the package use of its inside.
var (
	WriteCertificate = writeCertificate
	NewForwarder     = func(logger *slog.Logger) forwarder { return forwarder{logger} }
)
