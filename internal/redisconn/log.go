package redisconn

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// SetLogger sends what the go-redis library logs, for all clients of this
// process, to logger: at debug level, as the commands concerned return the same
// errors; at info level that a sentinel names another master; and at warn level
// faults of the library itself. Without it go-redis writes to standard error;
// nil silences it.
func SetLogger(logger *slog.Logger) {
	if logger == nil {
		redis.SetLogger(&logging.VoidLogger{})
		return
	}
	redis.SetLogger(forwarder{logger})
}

type forwarder struct{ logger *slog.Logger }

// Printf is what go-redis calls, without a level.
func (f forwarder) Printf(ctx context.Context, format string, args ...any) {
	level := slog.LevelDebug
	switch {
	case strings.Contains(format, "panic"):
		level = slog.LevelWarn
	case strings.HasPrefix(format, "sentinel: new master"):
		level = slog.LevelInfo
	}
	if f.logger.Enabled(ctx, level) {
		f.logger.Log(ctx, level, "redis client", "text", fmt.Sprintf(format, args...))
	}
}
