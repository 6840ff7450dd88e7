package ledger

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
	runs   []run  // of targets whose code has changed
	codes  []byte // of these runs, one after another
	counts map[string]int
	log    []byte

	waiters int             // commits in it that have not given up
	ctx     context.Context // ends when all of them have
	giveUp  context.CancelFunc

	done  chan struct{}
	state State
	err   error
}

// run is some targets of a segment in a row.
type run struct{ from, n int32 }

// Commit records updates and returns the job's state once Redis has them, with
// the counts that follow from the change of each target's code. No target may
// stand in two of them, and none may leave a final outcome but from unknown to
// sent: such updates are refused as a whole. Where Redis does not answer it
// repeats, without counting twice, until ctx ends. ErrFenced says that the claim
// is lost and nothing was recorded, but by a try whose reply was lost, too; any
// other error, that it is not known whether it was.
//
// Unless updates were refused, after an error the segment records nothing more:
// what is known of it here and what Redis has may differ. Release it; the next
// claim reads what is true.
func (s *Segment) Commit(ctx context.Context, tally Tally, updates ...Update) (State, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("ledger: commit: %w", err)
	}
	cp, leader, err := s.enqueue(ctx, tally, updates)
	if err != nil {
		return "", err
	}
	if leader {
		go s.write() // on its own: nobody waits for checkpoints that came after their own
	}
	select {
	case <-cp.done:
		return cp.state, cp.err
	case <-ctx.Done():
		return s.leave(cp, ctx.Err())
	}
}

// enqueue applies updates to the codes and adds them to the waiting
// checkpoint. The caller that finds nobody writing becomes the leader.
func (s *Segment) enqueue(ctx context.Context, tally Tally, updates []Update) (cp *checkpoint, leader bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, false, s.broken
	}
	for _, u := range updates {
		if err := s.check(u); err != nil {
			return nil, false, err
		}
	}
	if s.waiting == nil {
		s.waiting = &checkpoint{counts: map[string]int{}, done: make(chan struct{})}
		s.waiting.ctx, s.waiting.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	}
	cp = s.waiting
	cp.waiters++
	for _, u := range updates {
		s.apply(cp, u)
	}
	cp.counts["calls"] += tally.Calls
	cp.counts["throttled"] += tally.Throttled
	leader = !s.writing
	s.writing = true
	return cp, leader, nil
}

// leave ends the wait of one commit. Without any that waits, the checkpoint
// is given up too.
func (s *Segment) leave(cp *checkpoint, cause error) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-cp.done:
		return cp.state, cp.err
	default:
	}
	err := fmt.Errorf("ledger: commit: %w", cause)
	if cp.waiters--; cp.waiters == 0 {
		cp.giveUp()
		s.fail(err)
	}
	return "", err
}

// fail lets the segment record nothing more. The first error is the one that counts.
func (s *Segment) fail(err error) {
	if s.broken == nil {
		s.broken = err
	}
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

func (s *Segment) apply(cp *checkpoint, u Update) {
	if len(u.Index) == 0 {
		return
	}
	var before [256]int
	for _, i := range u.Index {
		before[s.codes[i]]++
		s.codes[i] = u.Code
	}
	for code, n := range before {
		if n > 0 {
			cp.move(Code(code), u.Code, n)
		}
	}
	for from, n := range runs(u.Index) {
		cp.runs = append(cp.runs, run{from, n})
	}
	if !u.Code.final() && u.Detail == "" {
		return // a mark: nothing to remember beyond the code
	}
	sep := byte(',')
	if len(cp.log) == 0 {
		sep = '['
	}
	cp.log = Entry{Code: u.Code, Attempts: u.Attempts, Index: u.Index, Detail: u.Detail, IDs: u.IDs}.
		appendJSON(append(cp.log, sep))
}

// move counts targets that go from one code to another.
func (cp *checkpoint) move(from, to Code, n int) {
	cp.counts[string(from.Outcome())] -= n
	cp.counts[string(to.Outcome())] += n
	if from == Lost && to == InFlight {
		cp.counts["resent"] += n
	}
	if reason := from.Reason(); reason != "" {
		cp.counts[reasonPrefix+reason] -= n
	}
	if reason := to.Reason(); reason != "" {
		cp.counts[reasonPrefix+reason] += n
	}
}

// write sends waiting checkpoints, one after another, until none waits.
func (s *Segment) write() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.waiting != nil {
		cp := s.waiting
		s.waiting = nil
		if cp.err = s.broken; cp.err == nil {
			s.seq++
			cp.seal(s.codes)
			s.mu.Unlock()
			cp.state, cp.err = s.send(cp)
			s.mu.Lock()
		}
		if cp.err != nil {
			s.fail(cp.err)
		}
		s.writing = s.waiting != nil // before anybody hears of it: see Release
		close(cp.done)
		cp.giveUp()
	}
}

// seal joins runs that touch or overlap, and keeps the codes as they are now:
// what comes later belongs to the next checkpoint.
func (cp *checkpoint) seal(codes []Code) {
	slices.SortFunc(cp.runs, func(a, b run) int { return cmp.Compare(a.from, b.from) })
	joined := cp.runs[:0]
	for _, r := range cp.runs {
		if last := len(joined) - 1; last >= 0 && r.from <= joined[last].from+joined[last].n {
			joined[last].n = max(joined[last].n, r.from+r.n-joined[last].from)
		} else {
			joined = append(joined, r)
		}
	}
	cp.runs = joined
	for _, r := range joined {
		for _, c := range codes[r.from : r.from+r.n] {
			cp.codes = append(cp.codes, byte(c))
		}
	}
}

// send repeats one checkpoint until Redis has answered it or nobody waits for
// it. The number it carries makes the repetition harmless.
func (s *Segment) send(cp *checkpoint) (State, error) {
	k := s.ledger.keys(s.JobID)
	keys := []string{k.job, k.out, k.log, k.held, k.doc, k.names, k.free}
	args := s.checkpointArgs(cp)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		state, err := checkpointScript.Run(cp.ctx, s.ledger.client, keys, args...).Text()
		switch {
		case err == nil && state == "fenced":
			return "", fmt.Errorf("ledger: commit: %w", ErrFenced)
		case err == nil:
			return State(state), nil
		case cp.ctx.Err() != nil:
			return "", fmt.Errorf("ledger: commit: %w", err)
		}
		select {
		case <-cp.ctx.Done():
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
	at := int32(0)
	for _, r := range cp.runs {
		args = append(args, s.base+int(r.from), cp.codes[at:at+r.n])
		at += r.n
	}
	for field, n := range cp.counts {
		if n != 0 {
			args = append(args, field, n)
		}
	}
	return args
}
