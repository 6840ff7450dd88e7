package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Update says what became of some targets of a segment. One that leaves them
// pending and has no detail changes their code alone and is not remembered.
type Update struct {
	Index    []int32 // ascending
	Code     Code
	Attempts int
	Detail   string
	IDs      []string
}

// Tally counts calls, beside the targets.
type Tally struct {
	Calls     int
	Throttled int
}

// checkpoint is what goes to Redis in one script call, and those who wait for it.
type checkpoint struct {
	runs   []run
	counts map[string]int
	log    []byte
	done   chan struct{}
	state  State
	err    error
}

type run struct {
	from  int32
	codes []byte
}

// Commit records updates and returns the job's state once Redis has them, with
// the counts that follow from the change of each target's code. Where Redis
// does not answer it repeats, without counting twice, until ctx ends. ErrFenced
// says that the claim is lost and nothing was recorded; any other error, that
// it is not known whether it was.
func (s *Segment) Commit(ctx context.Context, tally Tally, updates ...Update) (State, error) {
	cp, leader, err := s.enqueue(tally, updates)
	if err != nil {
		return "", err
	}
	if leader {
		go s.write(ctx) // on its own: nobody waits for checkpoints that came after their own
	}
	select {
	case <-cp.done:
		return cp.state, cp.err
	case <-ctx.Done():
		return "", fmt.Errorf("ledger: commit: %w", ctx.Err())
	}
}

// enqueue applies updates to the codes and adds them to the waiting
// checkpoint. The caller that finds nobody writing becomes the leader.
func (s *Segment) enqueue(tally Tally, updates []Update) (cp *checkpoint, leader bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range updates {
		if err := s.check(u); err != nil {
			return nil, false, err
		}
	}
	if s.waiting == nil {
		s.waiting = &checkpoint{counts: map[string]int{}, done: make(chan struct{})}
	}
	cp = s.waiting
	for _, u := range updates {
		if err := s.apply(cp, u); err != nil {
			return nil, false, err
		}
	}
	cp.counts["calls"] += tally.Calls
	cp.counts["throttled"] += tally.Throttled
	if leader = !s.writing; leader {
		s.writing = true
	}
	return cp, leader, nil
}

// check refuses to let a target leave a final outcome for one that is not truer.
func (s *Segment) check(u Update) error {
	for _, i := range u.Index {
		if old := s.codes[i]; old.final() && (old != AnswerLost || u.Code != Sent) {
			return fmt.Errorf("ledger: target %d of segment %s is %s already", i, s.Name, old.Outcome())
		}
	}
	return nil
}

func (s *Segment) apply(cp *checkpoint, u Update) error {
	if len(u.Index) == 0 {
		return nil
	}
	for _, i := range u.Index {
		old := s.codes[i]
		cp.counts[string(old.Outcome())]--
		cp.counts[string(u.Code.Outcome())]++
		if old == Lost && u.Code == InFlight {
			cp.counts["resent"]++
		}
		if reason := old.Reason(); reason != "" {
			cp.counts[reasonPrefix+reason]--
		}
		s.codes[i] = u.Code
	}
	if reason := u.Code.Reason(); reason != "" {
		cp.counts[reasonPrefix+reason] += len(u.Index)
	}
	for from, n := range runs(u.Index) {
		codes := make([]byte, n)
		for i := range codes {
			codes[i] = byte(u.Code)
		}
		cp.runs = append(cp.runs, run{from, codes})
	}
	if !u.Code.final() && u.Detail == "" {
		return nil // a mark: nothing to remember beyond the code
	}
	sep := byte(',')
	if len(cp.log) == 0 {
		sep = '['
	}
	var err error
	cp.log, err = Entry{Code: u.Code, Attempts: u.Attempts, Index: u.Index, Detail: u.Detail, IDs: u.IDs}.
		appendJSON(append(cp.log, sep))
	return err
}

// write sends waiting checkpoints, one after another, until none waits.
func (s *Segment) write(ctx context.Context) {
	for {
		s.mu.Lock()
		cp := s.waiting
		if s.waiting = nil; cp == nil {
			s.writing = false
			s.mu.Unlock()
			return
		}
		s.seq++
		s.mu.Unlock()
		cp.state, cp.err = s.send(ctx, cp)
		close(cp.done)
	}
}

// send repeats one checkpoint until Redis has answered it or ctx ends. The
// number it carries makes the repetition harmless.
func (s *Segment) send(ctx context.Context, cp *checkpoint) (State, error) {
	k := s.ledger.keys(s.JobID)
	keys := []string{k.job, k.out, k.log, k.held, k.doc, k.names}
	args := s.checkpointArgs(cp)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		state, err := checkpointScript.Run(ctx, s.ledger.client, keys, args...).Text()
		switch {
		case err == nil && state == "fenced":
			return "", fmt.Errorf("ledger: commit: %w", ErrFenced)
		case err == nil:
			return State(state), nil
		case ctx.Err() != nil:
			return "", errors.Join(fmt.Errorf("ledger: commit: %w", err), ctx.Err())
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(wait) + wait/2):
		}
	}
}

func (s *Segment) checkpointArgs(cp *checkpoint) []any {
	retention, dropDoc := s.ledger.cfg.Retention, ""
	if s.job.Urgent {
		retention, dropDoc = s.ledger.cfg.UrgentRetention, "1"
	}
	if len(cp.log) > 0 {
		cp.log = append(cp.log, ']')
	}
	args := []any{s.Name, s.claim, s.seq, retention.Milliseconds(), dropDoc, cp.log, len(cp.runs)}
	for _, r := range cp.runs {
		args = append(args, s.base+int(r.from), r.codes)
	}
	for field, n := range cp.counts {
		if n != 0 {
			args = append(args, field, n)
		}
	}
	return args
}
