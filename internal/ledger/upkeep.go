package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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

// Active reads the progress of all jobs that have not ended, the oldest first.
// Those that have it forgets, and returns the ids of those that nobody else has
// forgotten before: see Ended.
func (l *Ledger) Active(ctx context.Context) (active []Progress, ended []string, err error) {
	a, err := l.readActive(ctx)
	if err != nil {
		return nil, nil, err
	}
	ended, err = l.forget(ctx, a.ended, a.strays)
	return a.open, ended, errors.Join(err, l.drop(ctx, l.activeKey(), a.gone))
}

// activity is what is looked at every second.
type activity struct {
	open   []Progress
	ended  []string
	strays []string // jobs of which there are notes of tokens, and nothing else
	gone   []any    // pairs of id and score
}

func (l *Ledger) readActive(ctx context.Context) (a activity, err error) {
	entries, err := l.client.ZRangeWithScores(ctx, l.activeKey(), 0, -1).Result()
	if err != nil {
		return a, wrap("active jobs", err)
	}
	reads, tokens, err := l.readProgress(ctx, entries)
	if err != nil {
		return a, err
	}
	for i, e := range entries {
		id := e.Member.(string)
		if len(reads[i].job.Val()) == 0 {
			if longAgo(e.Score) {
				a.gone = append(a.gone, id, e.Score)
			}
			continue
		}
		p := reads[i].progress(id, tokens[id])
		if !p.Job.Finished.IsZero() { // a cancelled job is not, while targets are pending
			a.ended = append(a.ended, id)
			continue
		}
		delete(tokens, id)
		a.open = append(a.open, p)
	}
	// What is left of tokens is of jobs that ended before they were noted, or
	// of new ones, for which more will be put on the queue: spare ones do no harm.
	a.strays = slices.Collect(maps.Keys(tokens))
	return a, nil
}

// sealGrace is how long an index entry may stand without its job: it is
// written a moment before the job is.
const sealGrace = 10 * time.Minute

func longAgo(score float64) bool { return time.Since(time.UnixMilli(int64(score))) > sealGrace }

type progressRead struct {
	job, held *redis.MapStringStringCmd
	due       *redis.IntCmd
}

// readProgress asks for all that Active tells, in one round trip.
func (l *Ledger) readProgress(ctx context.Context, entries []redis.Z) (reads []progressRead, tokens map[string]string, err error) {
	now := strconv.FormatInt(time.Now().UnixMilli(), 10) // only a hint: the claim goes by Redis's clock
	reads = make([]progressRead, len(entries))
	var tokensAt *redis.MapStringStringCmd
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, e := range entries {
			k := l.keys(e.Member.(string))
			reads[i] = progressRead{
				job: p.HGetAll(ctx, k.job), held: p.HGetAll(ctx, k.held), due: p.ZCount(ctx, k.free, "-inf", now),
			}
		}
		tokensAt = p.HGetAll(ctx, l.tokensKey())
		return nil
	})
	if err != nil {
		return nil, nil, wrap("active jobs", err)
	}
	return reads, tokensAt.Val(), nil
}

func (r progressRead) progress(id, tokensAt string) Progress {
	p := Progress{Job: parseJob(id, r.job.Val()), Due: int(r.due.Val()), Held: map[string]string{}}
	for segment, claim := range r.held.Val() {
		if !strings.HasSuffix(segment, "#") {
			p.Held[segment] = claim
		}
	}
	if ms, err := strconv.ParseInt(tokensAt, 10, 64); err == nil {
		p.TokensAt = time.UnixMilli(ms)
	}
	return p
}

// forget drops ended jobs, and notes of tokens, from what is looked at every
// second. It returns those of the jobs that stood there still.
func (l *Ledger) forget(ctx context.Context, ended, tokens []string) (first []string, err error) {
	if len(ended)+len(tokens) == 0 {
		return nil, nil
	}
	removed := make([]*redis.IntCmd, len(ended))
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ended {
			removed[i] = p.ZRem(ctx, l.activeKey(), id)
		}
		if len(tokens) > 0 {
			p.HDel(ctx, l.tokensKey(), tokens...)
		}
		return nil
	})
	for i, id := range ended {
		if removed[i].Val() == 1 {
			first = append(first, id)
		}
	}
	return first, wrap("active jobs", err)
}

// drop removes entries of an index whose jobs are gone: pairs of id and score.
func (l *Ledger) drop(ctx context.Context, index string, gone []any) error {
	if len(gone) == 0 {
		return nil
	}
	return wrap("drop", dropScript.Run(ctx, l.client, []string{index}, gone...).Err())
}

// Ended tells the index that a job has ended, before the sweeper finds out. Of
// all that find it ended, here or in Active, one is the first.
func (l *Ledger) Ended(ctx context.Context, id string) (first bool, err error) {
	ids, err := l.forget(ctx, []string{id}, []string{id})
	return len(ids) == 1, err
}

// Progress reads the progress of one job. ErrNotFound where there is none.
func (l *Ledger) Progress(ctx context.Context, id string) (Progress, error) {
	reads, tokens, err := l.readProgress(ctx, []redis.Z{{Member: id}})
	if err != nil {
		return Progress{}, err
	}
	if len(reads[0].job.Val()) == 0 {
		return Progress{}, fmt.Errorf("ledger: progress: job %q: %w", id, ErrNotFound)
	}
	return reads[0].progress(id, tokens[id]), nil
}

// StatesOf reads the states of jobs, in one round trip. Those that are gone have none.
func (l *Ledger) StatesOf(ctx context.Context, ids []string) (map[string]State, error) {
	reads := make([]*redis.SliceCmd, len(ids))
	_, err := l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			reads[i] = p.HMGet(ctx, l.keys(id).job, "state")
		}
		return nil
	})
	if err != nil {
		return nil, wrap("states", err)
	}
	states := make(map[string]State, len(ids))
	for i, id := range ids {
		if state, there := reads[i].Val()[0].(string); there {
			states[id] = State(state)
		}
	}
	return states, nil
}

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
// at once. Nothing happens where the claim has changed meanwhile; then freed is
// false.
func (l *Ledger) Free(ctx context.Context, id, segment, claim string) (freed bool, err error) {
	return l.release(ctx, id, segment, claim, "0", "")
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

// Forgotten returns those of the held segments that stand under a claim of this
// ledger which it has given up: Redis came back from a moment before that, or a
// claim arrived that nobody waited for any more.
func (l *Ledger) Forgotten(p Progress) map[string]string {
	forgotten := map[string]string{}
	for segment, claim := range p.Held {
		if _, open := l.open.Load(claim); !open && ownerOf(claim) == l.owner {
			forgotten[segment] = claim
		}
	}
	return forgotten
}

// Trim drops entries of the job index whose record has expired: one step of a
// walk that cursor continues. Start with 0; 0 returned means that all were seen.
func (l *Ledger) Trim(ctx context.Context, cursor uint64) (next uint64, err error) {
	pairs, next, err := l.client.ZScan(ctx, l.indexKey(), cursor, "", 100).Result()
	if err != nil {
		return 0, wrap("trim", err)
	}
	var old []any // pairs of id and score
	var jobs []*redis.IntCmd
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := 0; i+1 < len(pairs); i += 2 {
			if score, _ := strconv.ParseFloat(pairs[i+1], 64); longAgo(score) {
				old = append(old, pairs[i], score)
				jobs = append(jobs, p.Exists(ctx, l.keys(pairs[i]).job))
			}
		}
		return nil
	})
	if err != nil {
		return 0, wrap("trim", err)
	}
	var gone []any
	for i, job := range jobs {
		if job.Val() == 0 {
			gone = append(gone, old[2*i:2*i+2]...)
		}
	}
	return next, l.drop(ctx, l.indexKey(), gone)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ledger: %s: %w", what, err)
}
