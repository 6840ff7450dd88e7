package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// State is where a job is in its life.
type State string

// The states. A job made by a Load is visible from StateRunning (or
// StateScheduled) on, one made by Begin from StateLoading on.
const (
	StateLoading   State = "loading"
	StateScheduled State = "scheduled"
	StateRunning   State = "running"
	StatePaused    State = "paused"
	StateFinished  State = "finished"
	StateCancelled State = "cancelled"
)

// States lists them all in the order of a job's life.
func States() []State {
	return []State{StateLoading, StateScheduled, StateRunning, StatePaused, StateFinished, StateCancelled}
}

// Ended reports whether nothing more will happen to the job.
func (s State) Ended() bool { return s == StateFinished || s == StateCancelled }

// Job is a job's record without its targets.
type Job struct {
	Spec // without the document: see Ledger.Document

	State     State
	Total     int64
	Pending   int64
	Sent      int64
	Failed    int64
	Unknown   int64
	Cancelled int64
	Settled   int64 // those of Unknown that were in no answer: Settle has ended them
	Resent    int64 // targets sent again after a lost answer, once for each time
	Calls     int64 // attempts to call whose end was recorded, refused connections included
	Throttled int64 // calls refused for a quota

	Created, Started, Finished time.Time // zero where it has not happened
	Launched                   time.Time // when a job that was loading began to wait for its calls; zero if it never was
	IdleUntil                  time.Time // when the job ends unless something is added; zero if it is not loading

	Reasons map[string]int64 // why targets were not sent: Code.Reason -> targets

	Cursor string // where a walk of Jobs goes on behind this one; set by Jobs alone
}

// Job reads a job's record. ErrNotFound where there is none.
func (l *Ledger) Job(ctx context.Context, id string) (Job, error) {
	fields, err := l.client.HGetAll(ctx, l.keys(id).job).Result()
	if err != nil {
		return Job{}, fmt.Errorf("ledger: job: %w", err)
	}
	if len(fields) == 0 {
		return Job{}, fmt.Errorf("ledger: job %q: %w", id, ErrNotFound)
	}
	return parseJob(id, fields), nil
}

// Document reads the canonical document that the job was made with, without id
// and targets. ErrNotFound where it is gone.
func (l *Ledger) Document(ctx context.Context, id string) ([]byte, error) {
	doc, err := l.client.Get(ctx, l.keys(id).doc).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("ledger: document of job %q: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: document: %w", err)
	}
	return doc, nil
}

// Accepted is from when on the job's sender waits for it: since it was whole, or
// since its time has come.
func (j Job) Accepted() time.Time {
	at := j.Created
	for _, later := range []time.Time{j.Launched, j.SendAt} {
		if later.After(at) {
			at = later
		}
	}
	return at
}

// Expired reports whether the job's time is over. While it is loading that ends nothing.
func (j Job) Expired(now time.Time) bool { return !j.ExpiresAt.IsZero() && !now.Before(j.ExpiresAt) }

// Idle reports whether the job is loading and nothing was added for too long.
func (j Job) Idle(now time.Time) bool { return !j.IdleUntil.IsZero() && !now.Before(j.IdleUntil) }

const (
	reasonPrefix = "r:"
	commonType   = "users" // target type of jobs that do not say
)

func parseJob(id string, fields map[string]string) Job {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(fields[name], 10, 64) // absent counts are 0
		return n
	}
	at := func(name string) time.Time {
		if ms := number(name); ms > 0 {
			return time.UnixMilli(ms).UTC()
		}
		return time.Time{}
	}
	since := func(name string) time.Time {
		ms, created := number(name), number("created")
		if ms > 0 && ms < created/2 { // of a small job that is finished, see checkpoint.lua
			return time.UnixMilli(created + ms - 1).UTC()
		}
		return at(name)
	}
	targetType, said := fields["type"]
	if !said {
		targetType = commonType
	}
	job := Job{
		Spec: Spec{
			ID: id, Name: fields["name"], TargetType: targetType, Urgent: fields["urgent"] != "",
			Weight: max(int(number("weight")), 1), Hold: fields["hold"] != "", MaxRate: int(number("max_rate")),
			SendAt: at("send_at"), ExpiresAt: at("expires_at"), ResendOf: fields["resend_of"],
		},
		State: State(fields["state"]),
		Total: number("total"), Pending: number("pending"), Sent: number("sent"), Failed: number("failed"),
		Unknown: number("unknown"), Cancelled: number("cancelled"), Settled: number("settled"), Resent: number("resent"),
		Calls: number("calls"), Throttled: number("throttled"),
		Created: at("created"), Started: since("started"), Finished: since("finished"), Launched: at("launched"),
		Reasons: map[string]int64{},
	}
	if job.State == StateLoading {
		job.IdleUntil = at("idle_at")
	}
	for name := range fields {
		if reason, ok := strings.CutPrefix(name, reasonPrefix); ok && number(name) > 0 {
			job.Reasons[reason] = number(name)
		}
	}
	return job
}

// Jobs reads the records of all jobs, the newest first. Entries whose job is
// gone are passed over. It walks by time of creation, not by rank: jobs that
// come and go on the way make no other one appear twice or be left out. It goes
// on behind the job whose Cursor is given, "" = from the newest.
func (l *Ledger) Jobs(ctx context.Context, after string) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		at, seen, err := startAfter(after)
		if err != nil {
			yield(Job{}, err)
			return
		}
		for {
			entries, err := l.client.ZRevRangeByScoreWithScores(ctx, l.indexKey(), &at).Result()
			if err != nil {
				yield(Job{}, fmt.Errorf("ledger: jobs: %w", err))
				return
			}
			jobs, err := l.readJobs(ctx, slices.DeleteFunc(slices.Clone(entries), seen))
			if err != nil {
				yield(Job{}, err)
				return
			}
			for _, job := range jobs {
				if !yield(job, nil) {
					return
				}
			}
			if int64(len(entries)) < at.Count {
				return
			}
			at = pageAfter(at, entries)
		}
	}
}

// ErrCursor is about a text that is no Job.Cursor.
var ErrCursor = errors.New("is no cursor")

// cursorOf names the place of an entry in the index.
func cursorOf(e redis.Z) string {
	return strconv.FormatFloat(e.Score, 'f', -1, 64) + "-" + e.Member.(string)
}

// startAfter begins a walk at a cursor's time of creation. Of the jobs of that very
// time, those up to the cursor's were seen: they come in reverse order of their ids.
func startAfter(cursor string) (at redis.ZRangeBy, seen func(redis.Z) bool, err error) {
	at = redis.ZRangeBy{Min: "-inf", Max: "+inf", Count: 100}
	if cursor == "" {
		return at, func(redis.Z) bool { return false }, nil
	}
	score, id, _ := strings.Cut(cursor, "-")
	last, err := strconv.ParseFloat(score, 64)
	if err != nil || id == "" {
		return at, nil, fmt.Errorf("ledger: jobs: %.80q %w", cursor, ErrCursor)
	}
	at.Max = strconv.FormatFloat(last, 'f', -1, 64)
	return at, func(e redis.Z) bool { return e.Score == last && e.Member.(string) >= id }, nil
}

// pageAfter continues behind entries: at the time of the last one, past those
// of the same time that were read.
func pageAfter(at redis.ZRangeBy, entries []redis.Z) redis.ZRangeBy {
	last := entries[len(entries)-1].Score
	if upto := strconv.FormatFloat(last, 'f', -1, 64); upto != at.Max {
		at.Max, at.Offset = upto, 0
	}
	for _, e := range entries {
		if e.Score == last {
			at.Offset++
		}
	}
	return at
}

// readJobs reads the records of those jobs that exist.
func (l *Ledger) readJobs(ctx context.Context, entries []redis.Z) ([]Job, error) {
	cmds := make([]*redis.MapStringStringCmd, len(entries))
	_, err := l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, e := range entries {
			cmds[i] = p.HGetAll(ctx, l.keys(e.Member.(string)).job)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ledger: jobs: %w", err)
	}
	jobs := make([]Job, 0, len(entries))
	for i, e := range entries {
		if fields := cmds[i].Val(); len(fields) > 0 {
			job := parseJob(e.Member.(string), fields)
			job.Cursor = cursorOf(e)
			jobs = append(jobs, job)
		}
	}
	return jobs, nil
}
