package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Errors of Delete.
var (
	// ErrActive: the job is running or paused; only cancelling ends it.
	ErrActive = errors.New("cancel it first")
	// ErrHeld: the job has ended, but a worker has not let go of it yet. That
	// passes by itself, within the time that one call may take.
	ErrHeld = errors.New("a worker is still at work on it")
	// ErrUnsettled: the job is cancelled, but some of its targets are pending: they
	// will be cancelled by a worker, or when it is cancelled once more.
	ErrUnsettled = errors.New("not all of its targets are cancelled yet: cancel it again, or let a worker do it")
)

var deleteScript = script("delete.lua")

// Delete removes the record of a job at once: of one that has ended, whose
// retention has not passed, or of one of which nothing was sent, since it is
// scheduled or still loading. Its id may then be used again. Slot tokens that
// are left of it are spare ones.
//
// ErrNotFound where there is no such job; ErrActive, ErrHeld and ErrUnsettled
// where it stays, and nothing has changed.
func (l *Ledger) Delete(ctx context.Context, id string) error {
	alive, err := l.Alive(ctx)
	if err != nil {
		return err
	}
	k := l.keys(id)
	var load *redis.StringCmd
	var index, active *redis.FloatCmd
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		load = p.HGet(ctx, k.job, "load")
		index, active = p.ZScore(ctx, l.indexKey(), id), p.ZScore(ctx, l.activeKey(), id)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) { // an absent entry is no fault
		return wrap("delete", err)
	}
	keys := []string{k.job, k.doc, k.names, k.free, k.held, k.out, k.log, l.stagedKey(id, load.Val()), k.lock, k.files}
	owners := make([]any, len(alive))
	for i, owner := range alive {
		owners[i] = owner
	}
	verdict, err := deleteScript.Run(ctx, l.client, keys, owners...).Text()
	if err != nil {
		return wrap("delete", err)
	}
	switch verdict {
	case "deleted":
		l.strike(ctx, id, map[string]*redis.FloatCmd{l.indexKey(): index, l.activeKey(): active})
		return nil
	case "held":
		return fmt.Errorf("ledger: delete: job %q: %w", id, ErrHeld)
	case "unsettled":
		return fmt.Errorf("ledger: delete: job %q: %w", id, ErrUnsettled)
	case "":
		return fmt.Errorf("ledger: delete: job %q: %w", id, ErrNotFound)
	default:
		return fmt.Errorf("ledger: delete: job %q is %s: %w", id, verdict, ErrActive)
	}
}

// strike takes a deleted job out of the indexes, but for an entry that was
// written anew since: the id is in use again. The job is gone whether this
// succeeds or not, and entries without a job are passed over until the sweeper
// drops them.
func (l *Ledger) strike(ctx context.Context, id string, scores map[string]*redis.FloatCmd) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), strikeTimeout)
	defer cancel()
	for index, score := range scores {
		if score.Err() == nil {
			_ = l.drop(ctx, index, []any{id, score.Val()})
		}
	}
	_ = l.client.HDel(ctx, l.tokensKey(), id).Err()
}

const strikeTimeout = 5 * time.Second
