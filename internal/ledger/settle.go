package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Settled is what Settle has found and done.
type Settled struct {
	State     State
	Cancelled int64 // targets that were pending and are cancelled now
	Unknown   int64 // the same, of which the last answer was lost
	Over      bool  // nothing of the job is pending any more
	Ended     bool  // and that was this call's doing
}

// settleAtOnce is how many targets one script call looks at, a millisecond or
// two: a segment, or several small ones.
const settleAtOnce = 10_000

// Settle ends the pending targets of a job that was cancelled, or whose ExpiresAt
// has passed by Redis's clock, in all segments that nobody holds, and a loading job
// whose IdleUntil has passed, as cancelled; of other jobs it changes nothing. Targets whose last answer was lost, or whose owner ended while
// they were in flight, become unknown, the others cancelled. What is held is left
// to its owner: call it again when that has released it. Calls at the same time,
// or after one that was cut off, share the work. ErrNotFound where there is no
// such job.
func (l *Ledger) Settle(ctx context.Context, id string) (Settled, error) {
	stay, urgent, err := l.retention(ctx)
	if err != nil {
		return Settled{}, err
	}
	k := l.keys(id)
	keys := []string{k.job, k.out, k.log, k.held, k.doc, k.names, k.free}
	var all Settled
	for {
		reply, err := settleScript.Run(ctx, l.client, keys, stay.Milliseconds(), urgent.Milliseconds(), settleAtOnce).Slice()
		if err != nil {
			return all, wrap("settle", err)
		}
		if len(reply) == 0 {
			return all, fmt.Errorf("ledger: settle: job %q: %w", id, ErrNotFound)
		}
		number := func(i int) int64 { n, _ := reply[i].(int64); return n } // the script answers nothing else
		state, _ := reply[0].(string)
		all.State, all.Over, all.Ended = State(state), number(4) == 1, number(5) == 1
		all.Cancelled += number(1)
		all.Unknown += number(2)
		if number(3) == 0 {
			return all, nil
		}
	}
}

// PublishRetention tells those who settle jobs without knowing it for how long
// records of finished jobs stay.
func (l *Ledger) PublishRetention(ctx context.Context) error {
	return wrap("retention", l.client.HSet(ctx, l.retentionKey(),
		"bulk", l.cfg.Retention.Milliseconds(), "urgent", l.cfg.UrgentRetention.Milliseconds()).Err())
}

// retention is what was published last, or else this ledger's own.
func (l *Ledger) retention(ctx context.Context) (bulk, urgent time.Duration, err error) {
	fields, err := l.client.HMGet(ctx, l.retentionKey(), "bulk", "urgent").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, 0, wrap("retention", err)
	}
	bulk, urgent = l.cfg.Retention, l.cfg.UrgentRetention
	for i, into := range []*time.Duration{&bulk, &urgent} {
		text, _ := fields[i].(string) // nil where nobody has published
		if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
			*into = time.Duration(ms) * time.Millisecond
		}
	}
	return bulk, urgent, nil
}

func (l *Ledger) retentionKey() string { return l.cfg.Namespace + ":retention" }
