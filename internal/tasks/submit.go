package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"crier/internal/gate"
	"crier/internal/ledger"
)

// ErrNotKnown begins the error of a submission whose last answer was lost: the
// job may exist. The same submission with the same id settles it.
var ErrNotKnown = errors.New("it is not known")

// sealTimeout bounds the moment in which a loaded job becomes visible.
const sealTimeout = 15 * time.Second

// Submitter takes send jobs into the ledger.
type Submitter struct {
	Ledger *ledger.Ledger
	Queue  *Queue
	Gate   *gate.Gate // for Plan alone: what was learned of the quota
	// LimitsFor is how long the limits in force count once they were read; 0 = they
	// are read for each job.
	LimitsFor time.Duration
	// Alone, if not nil, is told of a job that was taken, and that no replica of
	// Redis is known to have: see ledger.Replicated.
	Alone func(job string, err error)

	mu     sync.Mutex
	limits Limits
	read   time.Time // when limits were; zero = never
}

// AloneText says what Submitter.Alone is about.
const AloneText = "a job was taken, and only the master is known to have it: it is lost if that fails now"

// Submission is what is to become a job.
type Submission struct {
	Document Document
	Names    Names // the targets; nil = the document's own
	// Exclude are names that are left out of the targets, opt-outs perhaps;
	// nil = none. They are told apart in memory, as the targets are.
	Exclude Names
	// SkipInvalid leaves invalid names out, of both lists, and reports them.
	// Without it a single one refuses the submission.
	SkipInvalid bool
	// ResendOf is the id of the job whose targets these were, or "". It is no
	// part of the content.
	ResendOf string
	// Progress, if not nil, is told now and then how many distinct targets there
	// are so far. Its error ends the submission.
	Progress func(int) error
}

// Submitted is what became of a submission.
type Submitted struct {
	ID       string
	Created  bool // false: a job with this id and content was there already
	Document Document
	List
}

// Submit validates a document and its targets and makes them a job, all or
// nothing.
//
// Faults of the document, and a list that leaves no target, are an
// *InvalidError, those of single names a *NamesError; the same id with other
// content is ledger.ErrConflict.
func (s *Submitter) Submit(ctx context.Context, sub Submission) (Submitted, error) {
	l, err := s.begin(ctx, sub)
	if err != nil {
		return Submitted{}, err
	}
	spec, err := sub.Document.spec()
	if err != nil {
		return Submitted{}, err
	}
	spec.ResendOf = sub.ResendOf
	load := s.Ledger.NewLoad(spec)
	l.segment = load.Add
	if err := l.run(ctx); err != nil {
		return Submitted{}, errors.Join(err, load.Abort(context.WithoutCancel(ctx)))
	}
	// Whoever gives up now could not know whether the job exists: it is settled first.
	sealing, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealTimeout)
	defer cancel()
	created, err := load.Seal(sealing)
	if err != nil && !errors.Is(err, ledger.ErrConflict) && !errors.Is(err, ledger.ErrLost) && !redis.IsOOMError(err) {
		err = fmt.Errorf("%w whether job %s was stored: %w", ErrNotKnown, spec.ID, err)
	}
	if err != nil {
		return Submitted{ID: spec.ID}, err
	}
	if created && spec.SendAt.IsZero() {
		// The job is safe: should its slot tokens be lost, a sweeper puts them back.
		if err := s.Queue.PutTokens(sealing, spec.ID, spec.Urgent, l.segments); err == nil {
			_ = s.Ledger.NoteTokens(sealing, spec.ID, time.Now())
		}
	}
	s.replicate(sealing, spec.ID)
	return Submitted{ID: spec.ID, Created: created, Document: sub.Document, List: l.list}, nil
}

// replicate waits for a replica, so that what is answered outlives the master.
func (s *Submitter) replicate(ctx context.Context, job string) {
	if err := s.Ledger.Replicated(ctx, job); err != nil && s.Alone != nil {
		s.Alone(job, err)
	}
}

// Check validates a submission as Submit does, but for the names, which are not
// read. It stores nothing.
func (s *Submitter) Check(ctx context.Context, sub Submission) error {
	_, err := s.begin(ctx, sub)
	return err
}

// begin makes of a submission what is to be loaded, if all is well with it that
// can be known before its names are read.
func (s *Submitter) begin(ctx context.Context, sub Submission) (*loading, error) {
	limits, err := s.limitsInForce(ctx)
	if err != nil {
		return nil, err
	}
	l, err := newLoading(sub, limits)
	if err != nil {
		return nil, err
	}
	return l, s.checkFiles(ctx, sub.Document)
}

func (s *Submitter) limitsInForce(ctx context.Context) (Limits, error) {
	s.mu.Lock()
	limits, read := s.limits, s.read
	s.mu.Unlock()
	if !read.IsZero() && time.Since(read) < s.LimitsFor {
		return limits, nil
	}
	read = time.Now()
	limits, err := LimitsInForce(ctx, s.Ledger)
	if err != nil {
		return limits, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits, s.read = limits, read
	return limits, nil
}

func (d Document) measure(limits Limits) error {
	var f faults
	f.merge(d.written(d.Message.Check(limits.MaxMessage)))
	return f.err()
}

func (d Document) spec() (ledger.Spec, error) {
	canonical, err := d.Canonical()
	if err != nil {
		return ledger.Spec{}, err
	}
	id := d.ID
	if id == "" {
		made, err := uuid.NewV7()
		if err != nil {
			return ledger.Spec{}, fmt.Errorf("tasks: job id: %w", err)
		}
		id = made.String()
	}
	sendAt := d.Options.SendAt
	if !sendAt.After(time.Now()) {
		sendAt = time.Time{} // due already: nothing to wait for
	}
	return ledger.Spec{
		ID: id, Name: d.Options.Name, TargetType: string(d.Message.TargetType), Urgent: d.Options.Urgent,
		Weight: d.Options.Weight, Hold: d.Options.HoldLost, MaxRate: d.Options.MaxRate,
		SendAt: sendAt, ExpiresAt: d.Options.ExpiresAt, Document: canonical,
	}, nil
}
