package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"crier/internal/ledger"
)

// Errors of Resend that callers tell apart, beside those of Submit. Nothing was
// stored.
var (
	// ErrTextGone: there is nothing to send any more, only outcomes are kept.
	ErrTextGone = errors.New("its text is gone: that of an urgent job goes when it has finished")
	// ErrNobody: no target of the job has one of the outcomes.
	ErrNobody = errors.New("there is nobody to send to again")
)

// Resend says which targets of a job are to be sent to again.
type Resend struct {
	Of       string           // id of the job whose targets they are
	Outcomes []ledger.Outcome // some of Resendable; none = failed and unknown
	ID       string           // of the new job, its idempotency key; "" = made for it
	Progress func(int) error  // as in Submission
}

// Resendable lists the outcomes whose targets can be sent to again. The others
// are left out: a second message to who has one, or is about to, is nothing
// that should come of a slip. Who wants that sends a new job.
func Resendable() []ledger.Outcome {
	return []ledger.Outcome{ledger.OutcomeFailed, ledger.OutcomeUnknown, ledger.OutcomeCancelled}
}

// Resend makes a new job for the targets of another one that have ended in one
// of the outcomes, in the order in which they were given. A job that is still
// running is taken as it stands. The new job has the old one's message and
// options, but for send_at and expires_at: these were times of the first run,
// and an expires_at that has passed would cancel everything at once.
//
// Its status names the old job as resend_of. That is no part of its content:
// the same id again, while the outcomes are the same, answers with the job that
// exists.
//
// Errors are those of Submit, an *InvalidError for an outcome or an id that
// cannot be, ledger.ErrNotFound where the old job is gone, ErrTextGone and
// ErrNobody. All but ErrNotKnown mean that nothing was stored.
func (s *Submitter) Resend(ctx context.Context, r Resend) (Submitted, error) {
	if err := r.check(); err != nil {
		return Submitted{}, err
	}
	job, err := s.Ledger.Job(ctx, r.Of)
	if err != nil {
		return Submitted{}, err
	}
	document, err := s.documentOf(ctx, job)
	if err != nil {
		return Submitted{}, err
	}
	document.ID = r.ID
	document.Options.SendAt, document.Options.ExpiresAt = time.Time{}, time.Time{}
	wanted := r.Outcomes
	if len(wanted) == 0 {
		wanted = []ledger.Outcome{ledger.OutcomeFailed, ledger.OutcomeUnknown}
	}
	next, stop := iter.Pull2(s.targetsOf(ctx, job, wanted))
	defer stop()
	return s.Submit(ctx, Submission{
		Document: document, Names: &pulledNames{next: next}, ResendOf: job.ID, Progress: r.Progress,
	})
}

func (r Resend) check() error {
	var f faults
	for _, o := range r.Outcomes {
		if !slices.Contains(Resendable(), o) {
			f.add("outcome", "must be one of %s, but is %q", words(Resendable(), ", "), string(o))
		}
	}
	if r.ID != "" {
		quoted, _ := jsontext.AppendQuote(nil, r.ID) // what is no UTF-8 is no id either way
		f.id("id", quoted)
	}
	if r.ID == r.Of {
		f.add("id", "must be another than that of the job whose targets are sent to again")
	}
	return f.err()
}

// documentOf reads what a job was made with, but for its id and targets.
func (s *Submitter) documentOf(ctx context.Context, job ledger.Job) (Document, error) {
	text, err := s.Ledger.Document(ctx, job.ID)
	switch {
	case errors.Is(err, ledger.ErrNotFound) && job.Urgent:
		return Document{}, fmt.Errorf("tasks: job %q: %w", job.ID, ErrTextGone)
	case err != nil:
		return Document{}, err
	}
	return ParseDocument(text)
}

// targetsOf reads the targets of a job that have one of the outcomes. It ends
// with an error where there are none.
func (s *Submitter) targetsOf(ctx context.Context, job ledger.Job, wanted []ledger.Outcome) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		found := false
		for row, err := range s.Ledger.Rows(ctx, job.ID) {
			if err == nil && !slices.Contains(wanted, row.Outcome) {
				continue
			}
			if found = true; !yield(row.Target, err) {
				return
			}
		}
		if err := s.stillThere(ctx, job); err != nil {
			yield("", err)
		} else if !found {
			yield("", fmt.Errorf("tasks: job %q: %w: no target is %s", job.ID, ErrNobody, words(wanted, " or ")))
		}
	}
}

// stillThere makes sure that the message and all targets were those of one job:
// one may be deleted, and another made under its id, while they are read.
func (s *Submitter) stillThere(ctx context.Context, job ledger.Job) error {
	now, err := s.Ledger.Job(ctx, job.ID)
	if err == nil && !now.Created.Equal(job.Created) {
		err = fmt.Errorf("tasks: job %q was deleted meanwhile: %w", job.ID, ledger.ErrNotFound)
	}
	return err
}

// pulledNames are names that the ledger has, valid and normalized long ago.
type pulledNames struct {
	next func() (string, error, bool)
	name []byte
}

// Next gives the next name; names have no lines.
func (p *pulledNames) Next() ([]byte, int, error) {
	name, err, more := p.next()
	if !more {
		err = io.EOF
	}
	p.name = append(p.name[:0], name...)
	return p.name, 0, err
}

// words lists outcomes for people.
func words(outcomes []ledger.Outcome, separator string) string {
	list := make([]string, len(outcomes))
	for i, o := range outcomes {
		list[i] = string(o)
	}
	return strings.Join(list, separator)
}
