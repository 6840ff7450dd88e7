package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Beat marks this ledger's owner as alive and returns all owners that are, by
// Redis's own clock. Call it three times per OwnerTTL: claims of an owner that
// falls silent may be freed.
func (l *Ledger) Beat(ctx context.Context) (alive []string, err error) {
	began := time.Now()
	if alive, err = l.beat(ctx, l.owner); err == nil {
		l.beaten.Store(&began)
	}
	return alive, err
}

// Leased reports whether this ledger's claims are certainly its own still: Redis
// has heard of it within nine tenths of OwnerTTL (Redis's marks are whole
// milliseconds, and two clocks never run alike). A process that stood still for
// longer, or that Redis did not hear, may have lost them without a word.
func (l *Ledger) Leased() bool {
	began := l.beaten.Load()
	return began != nil && time.Since(*began) < l.cfg.OwnerTTL*9/10
}

// Alive returns the owners that have beaten within OwnerTTL.
func (l *Ledger) Alive(ctx context.Context) ([]string, error) { return l.beat(ctx, "") }

func (l *Ledger) beat(ctx context.Context, owner string) ([]string, error) {
	alive, err := beatScript.Run(ctx, l.client, []string{l.ownersKey()}, owner, l.cfg.OwnerTTL.Milliseconds()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("ledger: beat: %w", err)
	}
	return alive, nil
}

// Clock reads Redis's clock, which decides when a job starts and expires.
func (l *Ledger) Clock(ctx context.Context) (time.Time, error) {
	now, err := l.client.Time(ctx).Result()
	if err != nil {
		return now, fmt.Errorf("ledger: clock: %w", err)
	}
	return now, nil
}

// Bury takes this owner out of the living, so that nobody waits OwnerTTL for
// it. For a clean end, after all claims are released.
func (l *Ledger) Bury(ctx context.Context) error {
	if err := l.client.ZRem(ctx, l.ownersKey(), l.owner).Err(); err != nil {
		return fmt.Errorf("ledger: bury: %w", err)
	}
	return nil
}

// TryLock takes a lock of this namespace for the given time, if nobody has it.
// It guards against doubled effort, never against doubled effects.
func (l *Ledger) TryLock(ctx context.Context, name string, ttl time.Duration) (bool, error) {
	got, err := l.client.SetNX(ctx, l.cfg.Namespace+":lock:"+name, l.owner, ttl).Result()
	if err != nil {
		return false, fmt.Errorf("ledger: lock: %w", err)
	}
	return got, nil
}

// ownerOf returns the owner part of a claim.
func ownerOf(claim string) string {
	owner, _, _ := strings.Cut(claim, "/")
	return owner
}
