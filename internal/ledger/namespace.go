package ledger

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// Bind ties the namespace to one app of the Chat API, the first that asks, and
// returns the app that it is tied to.
func (l *Ledger) Bind(ctx context.Context, app string) (bound string, err error) {
	key := l.cfg.Namespace + ":app"
	if err := l.client.SetNX(ctx, key, app, 0).Err(); err != nil {
		return "", wrap("bind", err)
	}
	bound, err = l.client.Get(ctx, key).Result()
	return bound, wrap("bind", err)
}

// PublishLimits stores the limits in force, for those who submit jobs.
func (l *Ledger) PublishLimits(ctx context.Context, limits []byte) error {
	return wrap("limits", l.client.Set(ctx, l.cfg.Namespace+":limits", limits, 0).Err())
}

// Limits reads what PublishLimits stored, nil where nobody has.
func (l *Ledger) Limits(ctx context.Context) ([]byte, error) {
	limits, err := l.client.Get(ctx, l.cfg.Namespace+":limits").Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return limits, wrap("limits", err)
}
