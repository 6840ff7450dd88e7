package ledger

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bind ties the namespace to one app of the Chat API, the first that asks, and
// returns the app that it is tied to.
func (l *Ledger) Bind(ctx context.Context, app string) (bound string, err error) {
	if err := l.client.SetNX(ctx, l.appKey(), app, 0).Err(); err != nil {
		return "", wrap("bind", err)
	}
	bound, err = l.client.Get(ctx, l.appKey()).Result()
	return bound, wrap("bind", err)
}

// App returns the app that the namespace is tied to, "" = to none yet.
func (l *Ledger) App(ctx context.Context) (string, error) {
	app, err := l.client.Get(ctx, l.appKey()).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return app, wrap("app", err)
}

// PublishLimits stores the limits in force, for those who submit jobs.
func (l *Ledger) PublishLimits(ctx context.Context, limits []byte) error {
	return wrap("limits", l.client.Set(ctx, l.limitsKey(), limits, 0).Err())
}

// Limits reads what PublishLimits stored, nil where nobody has, and what the
// fleet has learned.
func (l *Ledger) Limits(ctx context.Context) (published []byte, learned Learned, err error) {
	var limits *redis.StringCmd
	var fields *redis.MapStringStringCmd
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		limits, fields = p.Get(ctx, l.limitsKey()), p.HGetAll(ctx, l.learnedKey())
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, learned, wrap("limits", err)
	}
	published, err = limits.Bytes()
	if errors.Is(err, redis.Nil) {
		published, err = nil, nil
	}
	learned.MaxTargets = map[string]int{}
	for field, text := range fields.Val() {
		number, _ := strconv.Atoi(text) // the script stores nothing else
		switch field {
		case "refused":
			learned.Refused = number
		case "accepted":
			learned.Accepted = number
		default:
			learned.MaxTargets[field] = number
		}
	}
	return published, learned, wrap("limits", err)
}

// Learned is what the API's answers have told the fleet of its limits.
type Learned struct {
	MaxTargets map[string]int // of a call, by target type
	Refused    int            // bytes of the smallest body that was too large, 0 = none was
	Accepted   int            // bytes of the largest body below that which was not
}

// learnedTTL is how long a limit is believed that is not met again: the vendor
// may have raised it.
const learnedTTL = 24 * time.Hour

// Lesson is what a call has taught that was accepted after another one, with
// the same targets among others, was not.
type Lesson struct {
	TargetType string
	MaxTargets int // the limit that the refusal named, 0 = none
	Refused    int // bytes of the refused body, 0 = its size was not the cause
	Accepted   int // bytes of the accepted body
}

// Learn shares a lesson with the fleet, for a day.
func (l *Ledger) Learn(ctx context.Context, o Lesson) error {
	return wrap("learn", learnScript.Run(ctx, l.client, []string{l.learnedKey()},
		learnedTTL.Milliseconds(), o.TargetType, o.MaxTargets, o.Refused, o.Accepted).Err())
}

func (l *Ledger) appKey() string     { return l.cfg.Namespace + ":app" }
func (l *Ledger) limitsKey() string  { return l.cfg.Namespace + ":limits" }
func (l *Ledger) learnedKey() string { return l.cfg.Namespace + ":learned" }
