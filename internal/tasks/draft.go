package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/ledger"
	"crier/internal/targets"
)

// Drafts takes in jobs whose targets come in several lists. It is safe for
// concurrent use, in several processes at a time: each job is added to by one of
// them at a time.
type Drafts struct {
	*Submitter

	mu   sync.Mutex
	turn map[string]*turn   // by id of the job, while somebody adds to it here
	kept map[string]keptSet // by id of the job
	idle *time.Timer        // ends what is kept; nil = nothing is
}

// keptSet tells the targets of a job apart, as they were committed under a version.
type keptSet struct {
	version string
	seen    *targets.Set
	at      time.Time
}

// What is kept so that the next list of a job finds it: without it, all that is
// stored of the job is read again.
const (
	keptNames = 4_000_000 // of all jobs together, some 80 MB
	keptFor   = time.Minute
)

// NewDrafts returns drafts that end up with a submitter.
func NewDrafts(s *Submitter) *Drafts {
	return &Drafts{Submitter: s, turn: map[string]*turn{}, kept: map[string]keptSet{}}
}

// Begin makes a job that is loading, of a document without targets. Its errors are
// those of Submit.
func (d *Drafts) Begin(ctx context.Context, doc Document) (Submitted, error) {
	if err := d.Check(ctx, Submission{Document: doc, Names: nobodyYet{}}); err != nil {
		return Submitted{}, err
	}
	spec, err := doc.spec()
	if err != nil {
		return Submitted{}, err
	}
	created, err := d.Ledger.Begin(ctx, spec)
	if err != nil && !errors.Is(err, ledger.ErrConflict) && !redis.IsOOMError(err) {
		err = fmt.Errorf("%w whether job %s was stored: %w", ErrNotKnown, spec.ID, err)
	}
	if err == nil {
		d.replicate(ctx, spec.ID)
	}
	return Submitted{ID: spec.ID, Created: created, Document: doc}, err
}

// nobodyYet is the list of a job that is loading.
type nobodyYet struct{}

// Next gives nothing.
func (nobodyYet) Next() ([]byte, int, error) { return nil, 0, io.EOF }

// Extension is a list that is to be added to a job.
type Extension struct {
	// Names opens the list, whose names are of a kind (targets.Options.Kind).
	Names       func(kind string) (Names, error)
	SkipInvalid bool            // as in Submission
	Progress    func(int) error // as in Submission; told of all targets of the job
}

// Extended is what a list has come to.
type Extended struct {
	Added      int   // targets that the job did not have
	Duplicates int   // names that it had, or that the list repeats
	Total      int64 // targets of the job
	Skipped    *NamesError
}

// draftWait is how long a list waits for another one that is being added to the
// same job: that of a client that has gone, perhaps.
const draftWait = 40 * time.Second

// turn lets one at a time of this process ask Redis for the right to add to a job.
type turn struct {
	free chan struct{}
	some int // how many have it, or wait for it
}

// draft takes the right to add to a job; give it back.
func (d *Drafts) draft(ctx context.Context, id string) (draft *ledger.Draft, giveBack func(), err error) {
	d.mu.Lock()
	t := d.turn[id]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		d.turn[id] = t
	}
	t.some++
	d.mu.Unlock()
	leave := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if t.some--; t.some == 0 {
			delete(d.turn, id)
		}
	}
	until := time.Now().Add(draftWait)
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	select {
	case t.free <- struct{}{}:
	case <-waiting.Done():
		leave()
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		return nil, nil, fmt.Errorf("tasks: job %q: %w", id, ledger.ErrBusy)
	}
	giveBack = func() {
		if draft != nil {
			_ = draft.Close(ctx) // it lapses by itself
		}
		<-t.free
		leave()
	}
	if draft, err = d.Ledger.Draft(ctx, id, time.Until(until)); err != nil {
		giveBack()
		return nil, nil, err
	}
	return draft, giveBack, nil
}

// Extend adds a list to a loading job: all of it, or nothing. Who does not know
// whether that was done may do it again.
//
// A list with an invalid name is a *NamesError. ledger.ErrNotFound; a
// *ledger.StateError where the job is not loading; ledger.ErrBusy where another
// list takes too long. All but ErrNotKnown mean that nothing was added.
func (d *Drafts) Extend(ctx context.Context, id string, ext Extension) (done Extended, err error) {
	draft, giveBack, err := d.draft(ctx, id)
	if err != nil {
		return Extended{}, err
	}
	defer giveBack()
	l, err := d.continued(ctx, draft, ext)
	if err != nil {
		return Extended{}, err
	}
	if err := l.run(ctx); err != nil {
		return Extended{}, err
	}
	committing, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealTimeout)
	defer cancel()
	total, err := draft.Commit(committing)
	var state *ledger.StateError
	switch {
	case err == nil:
	case errors.Is(err, ledger.ErrFenced), errors.Is(err, ledger.ErrNotFound), errors.Is(err, ledger.ErrLost),
		errors.As(err, &state), redis.IsOOMError(err):
		return Extended{}, err
	default:
		return Extended{}, fmt.Errorf("%w whether the targets were added to job %s: %w", ErrNotKnown, id, err)
	}
	d.keep(id, draft.Version(), l.seen)
	d.replicate(committing, id)
	return Extended{Added: l.list.Total, Duplicates: l.list.Duplicates, Total: total, Skipped: l.list.Skipped}, nil
}

// continued prepares to load a list behind what a job has.
func (d *Drafts) continued(ctx context.Context, draft *ledger.Draft, ext Extension) (*loading, error) {
	text, err := draft.Document(ctx)
	if err != nil {
		return nil, err
	}
	doc, err := ParseDocument(text)
	if err != nil {
		return nil, err
	}
	limits, err := d.limitsInForce(ctx)
	if err != nil {
		return nil, err
	}
	names, err := ext.Names(string(doc.Message.TargetType))
	if err != nil {
		return nil, err
	}
	sub := Submission{Document: doc, Names: names, SkipInvalid: ext.SkipInvalid}
	had := int(draft.Job().Total)
	if ext.Progress != nil {
		if err := ext.Progress(had); err != nil {
			return nil, err
		}
		sub.Progress = func(n int) error { return ext.Progress(had + n) }
	}
	l, err := newLoading(sub, limits)
	if err != nil {
		return nil, err
	}
	if l.seen, err = d.known(ctx, draft); err != nil {
		return nil, err
	}
	if l.lines, l.count, err = draft.Last(ctx); err != nil {
		return nil, err
	}
	l.sifted, l.extends, l.segment = len(l.lines), true, draft.Add
	return l, nil
}

// known tells the targets apart that a job has.
func (d *Drafts) known(ctx context.Context, draft *ledger.Draft) (*targets.Set, error) {
	d.mu.Lock()
	kept := d.kept[draft.Job().ID]
	delete(d.kept, draft.Job().ID) // it is about to change, for good or in vain
	d.mu.Unlock()
	if kept.seen != nil && kept.version == draft.Version() {
		return kept.seen, nil
	}
	seen := targets.NewSet()
	for lines, err := range draft.Stored(ctx) {
		if err != nil {
			return nil, err
		}
		seen.Sift(lines)
	}
	if have := int64(seen.Len()); have != draft.Job().Total {
		return nil, fmt.Errorf("tasks: job %q holds %d targets, not %d: %w", draft.Job().ID, have, draft.Job().Total, ledger.ErrDamaged)
	}
	return seen, nil
}

// keep remembers the targets of a job for its next list, and forgets those of
// others that were not added to for longest.
func (d *Drafts) keep(id, version string, seen *targets.Set) {
	if seen.Len() > keptNames {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept[id] = keptSet{version: version, seen: seen, at: time.Now()}
	d.trim(keptNames)
	if d.idle == nil {
		d.idle = time.AfterFunc(keptFor, d.forget)
	}
}

// trim forgets the oldest until there are so many names at most. mu is held.
func (d *Drafts) trim(most int) {
	names := 0
	for _, k := range d.kept {
		names += k.seen.Len()
	}
	for names > most {
		oldest := ""
		for id, k := range d.kept {
			if oldest == "" || k.at.Before(d.kept[oldest].at) {
				oldest = id
			}
		}
		names -= d.kept[oldest].seen.Len()
		delete(d.kept, oldest)
	}
}

// forget drops what was not asked for in a while.
func (d *Drafts) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, k := range d.kept {
		if time.Since(k.at) >= keptFor {
			delete(d.kept, id)
		}
	}
	if d.idle = nil; len(d.kept) > 0 {
		d.idle = time.AfterFunc(keptFor, d.forget)
	}
}

// Start lets a loading job be sent, if it has so many targets, or with -1 however
// many it has. One that was started already stays as it is. A total that differs is
// an *InvalidError.
//
// ledger.ErrNotFound; ledger.ErrEmpty where it has no targets; a
// *ledger.StateError where it was cancelled; ledger.ErrBusy while a list is added.
func (d *Drafts) Start(ctx context.Context, id string, total int64) error {
	draft, giveBack, err := d.draft(ctx, id)
	if err != nil {
		return started(err)
	}
	defer giveBack()
	if has := draft.Job().Total; total >= 0 && total != has {
		return fault("total", "the job has %d targets, not %d", has, total)
	}
	state, err := draft.Start(ctx)
	if err != nil {
		return started(err)
	}
	if state == ledger.StateRunning {
		// As in Submit: should this fail, a sweeper does it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealTimeout)
		defer cancel()
		if err := d.Queue.PutTokens(ctx, id, draft.Job().Urgent, maxTokens); err == nil {
			_ = d.Ledger.NoteTokens(ctx, id, time.Now())
		}
	}
	d.replicate(ctx, id)
	return nil
}

// started lets a job be that is what it should become.
func started(err error) error {
	var state *ledger.StateError
	done := []ledger.State{ledger.StateRunning, ledger.StateScheduled, ledger.StatePaused, ledger.StateFinished}
	if errors.As(err, &state) && slices.Contains(done, state.State) {
		return nil
	}
	if state != nil {
		state.Asked = "start"
	}
	return err
}
