package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Census is what the jobs of a namespace amount to: one process has counted them,
// all can read it.
type Census struct {
	At   time.Time     `json:"at"` // by Redis's clock
	Open []Group       `json:"open"`
	Late []LateJob     `json:"late"`
	Past map[State]int `json:"past"` // jobs that have ended and whose record is kept, as the last walk over all of them found
	Walk Walk          `json:"walk"` // the one that is under way
}

// Group is the jobs that have not ended and have these in common.
type Group struct {
	State      State  `json:"state"`
	TargetType string `json:"target_type"`
	Priority   string `json:"priority"`
	Jobs       int    `json:"jobs"`
	Pending    int64  `json:"pending"` // targets
}

// LateJob is a running job that will not be done before it expires: see Job.Late.
type LateJob struct {
	ID         string `json:"id"`
	TargetType string `json:"target_type"`
}

// Walk is as much of the index of jobs as was seen.
type Walk struct {
	Cursor uint64        `json:"cursor"` // 0 = at the beginning
	Past   map[State]int `json:"past"`
}

// CensusTTL is how long a census counts as new.
const CensusTTL = 2 * time.Second

// Census returns a census that is not much older than CensusTTL: it takes one if
// no other process is at it. What it returns may be old where that process has
// failed; see Census.At. It is zero where there never was one.
func (l *Ledger) Census(ctx context.Context) (Census, error) {
	var last Census
	now, err := l.Clock(ctx)
	if err != nil {
		return last, err
	}
	text, err := l.client.Get(ctx, l.censusKey()).Bytes()
	if err != nil && !errors.Is(err, redis.Nil) {
		return last, wrap("census", err)
	}
	if err == nil && json.Unmarshal(text, &last) != nil {
		last = Census{} // of another version: it is taken anew
	}
	if now.Sub(last.At) < CensusTTL {
		return last, nil
	}
	// Where a full Redis takes no lock, each process counts for itself.
	if mine, err := l.TryLock(ctx, "census", CensusTTL); err == nil && !mine {
		return last, nil
	}
	return l.takeCensus(ctx, now, last)
}

func (l *Ledger) censusKey() string { return l.cfg.Namespace + ":census" } // string: a Census

// takeCensus counts the open jobs, and walks on over those that have ended.
func (l *Ledger) takeCensus(ctx context.Context, now time.Time, last Census) (Census, error) {
	active, err := l.readActive(ctx) // and forgets none: who does has to tell of it
	if err != nil {
		return last, err
	}
	c := Census{At: now, Past: last.Past, Walk: last.Walk}
	groups := map[Group]Group{}
	for _, p := range active.open {
		if p.Job.State.Ended() { // of a cancelled one the last calls are under way: the walk counts it
			continue
		}
		key := Group{State: p.Job.State, TargetType: p.Job.TargetType, Priority: p.Job.Priority()}
		g := groups[key]
		g.Jobs++
		g.Pending += p.Job.Pending
		groups[key] = g
		if p.Job.Late(now) {
			c.Late = append(c.Late, LateJob{ID: p.Job.ID, TargetType: p.Job.TargetType})
		}
	}
	for key, g := range groups {
		key.Jobs, key.Pending = g.Jobs, g.Pending
		c.Open = append(c.Open, key)
	}
	if err := l.walk(ctx, &c); err != nil {
		return last, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return last, fmt.Errorf("ledger: census: %w", err)
	}
	_ = l.client.Set(ctx, l.censusKey(), text, 0).Err() // as with the lock
	return c, nil
}

const (
	walkStep  = 1000 // entries of the index in a round trip
	walkSteps = 10   // in a census: so the records of a million jobs are seen in a hundred
)

// walk counts jobs that have ended, a part of them at a time.
func (l *Ledger) walk(ctx context.Context, c *Census) error {
	for range walkSteps {
		if c.Walk.Cursor == 0 {
			c.Walk.Past = map[State]int{StateFinished: 0, StateCancelled: 0}
		}
		entries, next, err := l.client.ZScan(ctx, l.indexKey(), c.Walk.Cursor, "", walkStep).Result()
		if err != nil {
			return wrap("census", err)
		}
		states := make([]*redis.StringCmd, 0, len(entries)/2)
		_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := 0; i < len(entries); i += 2 { // pairs of id and score
				states = append(states, p.HGet(ctx, l.keys(entries[i]).job, "state"))
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) { // Nil: the record of one has expired
			return wrap("census", err)
		}
		for _, cmd := range states {
			if state := State(cmd.Val()); state.Ended() {
				c.Walk.Past[state]++
			}
		}
		if c.Walk.Cursor = next; next == 0 {
			c.Past = c.Walk.Past
			return nil
		}
	}
	return nil
}

// Late reports whether a running job will not be done before it expires, if it
// goes on as it did so far. In its first half minute, and before it has got
// anywhere, nobody can tell.
func (j Job) Late(now time.Time) bool {
	done := j.Total - j.Pending
	if j.State != StateRunning || j.ExpiresAt.IsZero() || done == 0 || now.Sub(j.Accepted()) < 30*time.Second {
		return false
	}
	left := float64(j.Pending) / float64(done) * max(now.Sub(j.Started).Seconds(), 1)
	return left > j.ExpiresAt.Sub(now).Seconds()
}
