package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Progress is what the sweeper needs to know of a job that has not ended.
type Progress struct {
	Job  Job
	Due  int               // segments that could be claimed now
	Held map[string]string // segment -> claim
	// TokensAt is when slot tokens were last put on the queue for this job; zero if never.
	TokensAt time.Time
}

// Active reads the progress of all jobs that have not ended, the oldest first,
// and forgets those that have.
func (l *Ledger) Active(ctx context.Context) ([]Progress, error) {
	entries, err := l.client.ZRangeWithScores(ctx, l.activeKey(), 0, -1).Result()
	if err != nil || len(entries) == 0 {
		return nil, wrap("active jobs", err)
	}
	reads, tokens, err := l.readProgress(ctx, entries)
	if err != nil {
		return nil, err
	}
	var active []Progress
	var ended []string
	for i, e := range entries {
		id, fields := e.Member.(string), reads[i].job.Val()
		if len(fields) == 0 {
			if time.Since(time.UnixMilli(int64(e.Score))) > sealGrace {
				ended = append(ended, id)
			}
			continue
		}
		p := Progress{Job: parseJob(id, fields), Due: int(reads[i].due.Val()), Held: map[string]string{}}
		if p.Job.Expired(time.Now()) {
			p.Due = int(reads[i].free.Val())
		}
		if p.Job.State.Ended() && p.Job.Pending == 0 {
			ended = append(ended, id)
			continue
		}
		for segment, claim := range reads[i].held.Val() {
			if !strings.HasSuffix(segment, "#") {
				p.Held[segment] = claim
			}
		}
		if ms, ok := tokens[i].(string); ok {
			n, _ := strconv.ParseInt(ms, 10, 64)
			p.TokensAt = time.UnixMilli(n)
		}
		active = append(active, p)
	}
	return active, l.forget(ctx, ended)
}

// sealGrace is how long an index entry may stand without its job: it is
// written a moment before the job is.
const sealGrace = 10 * time.Minute

type progressRead struct {
	job, held *redis.MapStringStringCmd
	due, free *redis.IntCmd
}

func (l *Ledger) readProgress(ctx context.Context, entries []redis.Z) (reads []progressRead, tokens []any, err error) {
	ids := make([]string, len(entries))
	now := strconv.FormatInt(time.Now().UnixMilli(), 10) // only a hint: the claim goes by Redis's clock
	reads = make([]progressRead, len(entries))
	var tokensAt *redis.SliceCmd
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, e := range entries {
			ids[i] = e.Member.(string)
			k := l.keys(ids[i])
			reads[i] = progressRead{
				job: p.HGetAll(ctx, k.job), held: p.HGetAll(ctx, k.held), due: p.ZCount(ctx, k.free, "-inf", now),
				free: p.ZCard(ctx, k.free),
			}
		}
		tokensAt = p.HMGet(ctx, l.tokensKey(), ids...)
		return nil
	})
	if err != nil {
		return nil, nil, wrap("active jobs", err)
	}
	return reads, tokensAt.Val(), nil
}

// forget drops ended jobs from what is looked at every second.
func (l *Ledger) forget(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	members := make([]any, len(ids))
	for i, id := range ids {
		members[i] = id
	}
	_, err := l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, l.activeKey(), members...)
		p.HDel(ctx, l.tokensKey(), ids...)
		return nil
	})
	return wrap("active jobs", err)
}

// Ended tells the index that a job has ended, before the sweeper finds out.
func (l *Ledger) Ended(ctx context.Context, id string) error { return l.forget(ctx, []string{id}) }

// Start lets a scheduled job run if its time has come by Redis's clock.
func (l *Ledger) Start(ctx context.Context, id string) (started bool, err error) {
	n, err := startScript.Run(ctx, l.client, []string{l.keys(id).job}).Int()
	return n == 1, wrap("start", err)
}

// NoteTokens remembers when slot tokens for a job were last put on the queue.
func (l *Ledger) NoteTokens(ctx context.Context, id string, at time.Time) error {
	return wrap("tokens", l.client.HSet(ctx, l.tokensKey(), id, at.UnixMilli()).Err())
}

// Free takes a segment from an owner that is gone, so that it can be claimed
// at once. Nothing happens where the claim has changed meanwhile.
func (l *Ledger) Free(ctx context.Context, id, segment, claim string) error {
	return l.release(ctx, id, segment, claim, "0")
}

// Abandoned returns those of the held segments whose owners are not alive.
func (p Progress) Abandoned(alive []string) map[string]string {
	living := make(map[string]bool, len(alive))
	for _, owner := range alive {
		living[owner] = true
	}
	gone := map[string]string{}
	for segment, claim := range p.Held {
		if !living[ownerOf(claim)] {
			gone[segment] = claim
		}
	}
	return gone
}

// Trim drops entries of the job index whose record has expired: one step of a
// walk that cursor continues. Start with 0; 0 returned means that all were seen.
func (l *Ledger) Trim(ctx context.Context, cursor uint64) (next uint64, err error) {
	pairs, next, err := l.client.ZScan(ctx, l.indexKey(), cursor, "", 100).Result()
	if err != nil {
		return 0, wrap("trim", err)
	}
	exists := make(map[string]*redis.IntCmd, len(pairs)/2)
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := 0; i+1 < len(pairs); i += 2 {
			score, _ := strconv.ParseFloat(pairs[i+1], 64)
			if time.Since(time.UnixMilli(int64(score))) > sealGrace {
				exists[pairs[i]] = p.Exists(ctx, l.keys(pairs[i]).job)
			}
		}
		return nil
	})
	if err != nil {
		return 0, wrap("trim", err)
	}
	var gone []any
	for id, cmd := range exists {
		if cmd.Val() == 0 {
			gone = append(gone, id)
		}
	}
	if len(gone) > 0 {
		err = l.client.ZRem(ctx, l.indexKey(), gone...).Err()
	}
	return next, wrap("trim", err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ledger: %s: %w", what, err)
}
