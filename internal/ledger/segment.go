package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Segment is a claimed slice of a job's targets, for use by one goroutine.
type Segment struct {
	JobID string
	Name  string // of the segment within its job
	Count int    // targets
	Lines []byte // the targets, each ended by a newline
	First bool   // with this claim the job has started

	ledger *Ledger
	job    Job
	claim  string
	base   int // index of the first target in the job

	ends   []int32 // end of each target's line in Lines; mostly nobody asks
	codes  []Code
	tries  []Try // nil until a target was tried and is pending again
	seq    int   // of the last checkpoint
	state  State // of the job, as far as it was told
	broken error // why nothing more is recorded
}

// Claim takes the next due segment of a running job, or nil where none is due.
// The state says why: a job that is not running has nothing to claim, nor has one
// whose time has passed.
// Repeat a failed call with the same token (see Token): it may have succeeded.
func (l *Ledger) Claim(ctx context.Context, job Job, token string) (*Segment, State, error) {
	k := l.keys(job.ID)
	reply, err := claimScript.Run(ctx, l.client, []string{k.job, k.free, k.held, k.names, k.out, k.log},
		token, job.Created.UnixMilli()).StringSlice()
	if err != nil {
		return nil, "", fmt.Errorf("ledger: claim: %w", err)
	}
	switch len(reply) {
	case 0:
		l.open.Delete(token)
		return nil, "", fmt.Errorf("ledger: claim: job %q: %w", job.ID, ErrNotFound)
	case 1:
		l.open.Delete(token)
		return nil, State(reply[0]), nil
	}
	s := &Segment{JobID: job.ID, ledger: l, job: job, Name: reply[1], claim: token, state: State(reply[0]), First: reply[5] != ""}
	if err := s.read(reply); err != nil {
		l.open.Delete(token)
		// Claimed it is: it is put off, so that the job's other segments are delivered.
		return nil, "", errors.Join(fmt.Errorf("ledger: claim: job %q: %w: %w", job.ID, ErrDamaged, err),
			l.putOff(ctx, job.ID, s.Name, token))
	}
	return s, State(reply[0]), nil
}

// damagedDelay is how long, in ms, a segment rests that cannot be read.
const damagedDelay = "600000"

func (l *Ledger) putOff(ctx context.Context, id, segment, claim string) error {
	_, err := l.release(ctx, id, segment, claim, damagedDelay, "")
	return err
}

// read takes over what claim.lua has answered.
func (s *Segment) read(reply []string) (err error) {
	if _, s.base, s.Count, err = parseSegmentName(s.Name); err != nil {
		return err
	}
	if s.Lines, err = s.ledger.packer.unpack([]byte(reply[2])); err != nil {
		return err
	}
	if n := bytes.Count(s.Lines, newline); n != s.Count {
		return fmt.Errorf("ledger: segment %s holds %d names", s.Name, n)
	}
	s.codes = make([]Code, s.Count)
	for i, c := range []byte(reply[3]) {
		s.codes[i] = Code(c)
	}
	return s.replay(reply[4])
}

// Target returns the name of the target with index i.
func (s *Segment) Target(i int32) []byte {
	if s.ends == nil {
		for at := range s.Lines {
			if s.Lines[at] == '\n' {
				s.ends = append(s.ends, int32(at))
			}
		}
	}
	from := int32(0)
	if i > 0 {
		from = s.ends[i-1] + 1
	}
	return s.Lines[from:s.ends[i]]
}

// replay rebuilds what is known of earlier attempts from the log.
func (s *Segment) replay(log string) error {
	if log == "" {
		return nil
	}
	s.tries = make([]Try, s.Count)
	return readLog(log, func(e Entry) error {
		for i := range e.indexes(s.Count) {
			s.tries[i].add(e)
		}
		return nil
	})
}

// Pending calls yield for each target that is still to be dealt with: its
// index, its code and what is known of earlier attempts.
func (s *Segment) Pending(yield func(i int32, c Code, try Try)) {
	for i, c := range s.codes {
		if c.final() {
			continue
		}
		var try Try
		if s.tries != nil {
			try = s.tries[i]
		}
		yield(int32(i), c, try)
	}
}

// JobState is the state of the job when Redis has last answered a claim or a
// commit of the segment.
func (s *Segment) JobState() State { return s.state }

// Untouched reports whether no target was ever in a call.
func (s *Segment) Untouched() bool {
	return s.tries == nil && !slices.ContainsFunc(s.codes, func(c Code) bool { return c != Fresh })
}

// PendingCount returns the number of targets still to be dealt with.
func (s *Segment) PendingCount() (n int) {
	s.Pending(func(int32, Code, Try) { n++ })
	return n
}

// Release gives the segment up. Targets that are still pending, or may be,
// since a commit has failed, can be claimed again after the delay, by anyone.
// Losing the claim before is no error.
func (s *Segment) Release(ctx context.Context, delayMS int64) error {
	delay := ""
	if s.PendingCount() > 0 || s.broken != nil {
		delay = strconv.FormatInt(max(delayMS, 0), 10)
	}
	_, err := s.ledger.release(ctx, s.JobID, s.Name, s.claim, delay, strconv.Itoa(s.seq))
	if err == nil {
		s.ledger.open.Delete(s.claim)
	}
	return err
}

// release reports whether the claim was still held.
func (l *Ledger) release(ctx context.Context, id, segment, claim, delay, last string) (held bool, err error) {
	k := l.keys(id)
	n, err := releaseScript.Run(ctx, l.client, []string{k.held, k.free, k.job}, segment, claim, delay, last).Int()
	return n == 1, wrap("release", err)
}

// Late reports targets of a call that was answered with success after the
// claim was lost. It returns how many of them became sent by that.
func (s *Segment) Late(ctx context.Context, index []int32, attempts int) (int, error) {
	k := s.ledger.keys(s.JobID)
	args := []any{s.Name, s.base, attempts, s.job.Created.UnixMilli()}
	for from, n := range runs(index) {
		args = append(args, from, n)
	}
	n, err := lateScript.Run(ctx, s.ledger.client, []string{k.job, k.out, k.log, k.held}, args...).Int()
	if err != nil {
		return 0, fmt.Errorf("ledger: late answer: %w", err)
	}
	return n, nil
}
