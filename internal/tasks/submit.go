package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"crier/internal/apiclient"
	"crier/internal/ledger"
	"crier/internal/targets"
)

// Names is a list of targets, read as a stream. Names are normalized for their
// type. A *targets.InvalidError or an apiclient.FieldError is about one name,
// and reading goes on behind it; io.EOF is the end.
type Names interface {
	Next() (name []byte, line int, err error)
}

// maxFaults is how many invalid names are reported, of however many.
const maxFaults = 20

// segmentTargets is about how many targets a segment holds: enough to pack
// well and to be claimed seldom, few enough to be held in memory by the dozen.
const segmentTargets = 10_000

// ErrNotKnown begins the error of a submission whose last answer was lost: the
// job may exist. The same submission with the same id settles it.
var ErrNotKnown = errors.New("it is not known")

// sealTimeout bounds the moment in which a loaded job becomes visible.
const sealTimeout = 30 * time.Second

// Submitter takes send jobs into the ledger.
type Submitter struct {
	Ledger *ledger.Ledger
	Queue  *Queue
}

// Submission is what is to become a job.
type Submission struct {
	Document Document
	Names    Names     // the targets; nil = the document's own
	Progress func(int) // if not nil, told now and then how many distinct targets there are so far
}

// Submitted is what became of a submission.
type Submitted struct {
	ID         string
	Created    bool // false: a job with this id and content was there already
	Total      int  // distinct targets
	Duplicates int  // repeated names that were dropped
}

// Submit validates a document and its targets and makes them a job, all or
// nothing.
//
// Faults of the document are an *InvalidError, those of the list of names a
// *NamesError; the same id with other content is ledger.ErrConflict.
func (s *Submitter) Submit(ctx context.Context, sub Submission) (Submitted, error) {
	d := sub.Document
	limits, err := LimitsInForce(ctx, s.Ledger)
	if err != nil {
		return Submitted{}, err
	}
	names, err := chooseNames(d, sub.Names)
	if err != nil {
		return Submitted{}, err
	}
	if err := d.measure(limits); err != nil {
		return Submitted{}, err
	}
	spec, err := d.spec()
	if err != nil {
		return Submitted{}, err
	}
	c, err := newCampaign(d, &limits)
	if err != nil {
		return Submitted{}, fault("msg", "leaves no room for a target in a body of %d bytes", limits.MaxBody)
	}
	l := &loading{load: s.Ledger.NewLoad(spec), campaign: &c, seen: targets.NewSet(), progress: sub.Progress}
	if err := l.readAll(ctx, names); err != nil {
		return Submitted{}, errors.Join(err, l.load.Abort(context.WithoutCancel(ctx)))
	}
	// Whoever gives up now could not know whether the job exists: it is settled first.
	sealing, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealTimeout)
	defer cancel()
	created, err := l.load.Seal(sealing)
	if err != nil && !errors.Is(err, ledger.ErrConflict) && !errors.Is(err, ledger.ErrLost) {
		err = fmt.Errorf("%w whether job %s was stored: %w", ErrNotKnown, spec.ID, err)
	}
	if err != nil {
		return Submitted{}, err
	}
	done := Submitted{ID: spec.ID, Created: created, Total: l.load.Total(), Duplicates: l.duplicates}
	if created && spec.SendAt.IsZero() {
		// The job is safe: should its slot tokens be lost, a sweeper puts them back.
		if err := s.Queue.PutTokens(sealing, spec.ID, spec.Urgent, l.segments); err == nil {
			_ = s.Ledger.NoteTokens(sealing, spec.ID, time.Now())
		}
	}
	return done, nil
}

func fault(field, problem string, args ...any) error {
	return &InvalidError{Faults: []apiclient.FieldError{{Field: field, Problem: fmt.Sprintf(problem, args...)}}}
}

func chooseNames(d Document, names Names) (Names, error) {
	switch {
	case names != nil && d.Targets != nil:
		return nil, fault("target", "is given in the document and as a list")
	case names != nil:
		return names, nil
	case d.Targets != nil:
		return newArrayNames(string(d.Message.TargetType), d.Targets), nil
	default:
		return nil, fault("target", "is required")
	}
}

func (d Document) measure(limits Limits) error {
	var f faults
	f.merge(d.Message.Check(limits.MaxMessage))
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

// NamesError lists the first invalid names of a list. Nothing was stored.
type NamesError struct {
	Faults []error // the first maxFaults, each a *targets.InvalidError or an apiclient.FieldError
	Count  int     // of all
}

func (e *NamesError) Error() string {
	text := errors.Join(e.Faults...).Error()
	if more := e.Count - len(e.Faults); more > 0 {
		text += fmt.Sprintf("\nand %d more", more)
	}
	return text
}

// loading turns a stream of names into segments.
type loading struct {
	load       *ledger.Load
	campaign   *campaign
	seen       *targets.Set
	progress   func(int)
	lines      []byte // names not yet in a segment
	count      int    // of them
	segments   int
	duplicates int
	invalid    NamesError
}

// readAll reads all names. After the first invalid one it only looks for more
// of them.
func (l *loading) readAll(ctx context.Context, names Names) error {
	for read := 0; ; read++ {
		name, _, err := names.Next()
		switch {
		case isInvalidName(err):
			if l.invalid.Count++; l.invalid.Count <= maxFaults {
				l.invalid.Faults = append(l.invalid.Faults, err)
			}
			continue
		case errors.Is(err, io.EOF):
			return l.end(ctx)
		case err != nil:
			return err
		}
		if l.invalid.Count > 0 {
			continue
		}
		if !l.seen.Add(name) {
			l.duplicates++
			continue
		}
		l.lines = append(append(l.lines, name...), '\n')
		// One batch more than a segment takes, so that its last batch is as
		// full as it would be in an endless list.
		if l.count++; l.count == segmentTargets+l.campaign.cut.MaxTargets {
			if err := l.segment(ctx, segmentTargets); err != nil {
				return err
			}
		}
		if l.progress != nil && read%10_000 == 0 {
			l.progress(l.seen.Len())
		}
	}
}

// isInvalidName tells the fault of one name from the end of the list.
func isInvalidName(err error) bool {
	var line *targets.InvalidError
	var field apiclient.FieldError
	return errors.As(err, &line) || errors.As(err, &field)
}

func (l *loading) end(ctx context.Context) error {
	if l.invalid.Count > 0 {
		return &l.invalid
	}
	if l.seen.Len() == 0 {
		return fault("target", "must name at least one target")
	}
	for l.count > 0 {
		if err := l.segment(ctx, segmentTargets); err != nil {
			return err
		}
	}
	if l.progress != nil {
		l.progress(l.seen.Len())
	}
	return nil
}

// segment writes whole batches off the front of the lines until it has about
// so many targets.
func (l *loading) segment(ctx context.Context, about int) error {
	rest, count := l.lines, 0
	for count < about && len(rest) > 0 {
		batch, after, err := l.campaign.cut.Next(rest)
		if err != nil {
			return fault("msg", "leaves no room: %v", err)
		}
		rest, count = after, count+batch.Count
	}
	if err := l.load.Add(ctx, l.lines[:len(l.lines)-len(rest)], count); err != nil {
		return err
	}
	l.lines = append(l.lines[:0], rest...)
	l.count -= count
	l.segments++
	return nil
}

// arrayNames are the targets that stand in a document.
type arrayNames struct {
	kind  string
	dec   *jsontext.Decoder
	index int
	name  []byte
}

func newArrayNames(kind string, array jsontext.Value) *arrayNames {
	dec := jsontext.NewDecoder(bytes.NewReader(array))
	_, _ = dec.ReadToken() // the bracket: the value was read as an array
	return &arrayNames{kind: kind, dec: dec, index: -1}
}

func (a *arrayNames) Next() ([]byte, int, error) {
	if a.dec.PeekKind() == ']' {
		return nil, 0, io.EOF
	}
	value, err := a.dec.ReadValue()
	if err != nil {
		return nil, 0, fmt.Errorf("tasks: target: %w", err)
	}
	a.index++
	if value.Kind() != '"' {
		return nil, 0, a.invalid("must be a string")
	}
	raw, err := jsontext.AppendUnquote(nil, value)
	if err == nil {
		a.name, err = targets.Normalize(a.kind, a.name[:0], raw)
	}
	if err != nil {
		return nil, 0, a.invalid(fmt.Sprintf("%.80q %v", raw, err))
	}
	return a.name, 0, nil
}

func (a *arrayNames) invalid(problem string) error {
	return apiclient.FieldError{Field: fmt.Sprintf("target[%d]", a.index), Problem: problem}
}
