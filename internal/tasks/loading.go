package tasks

import (
	"context"
	"fmt"
	"strings"

	"crier/internal/chunker"
	"crier/internal/targets"
)

// segmentTargets is about how many targets a segment holds: enough to pack
// well and to be claimed seldom, few enough to be held in memory by the dozen.
const segmentTargets = 10_000

// List is what the list of a submission has come to.
type List struct {
	Total      int // distinct targets
	Duplicates int // repeated names, sent to once
	Excluded   int // names that are left out, a repeated one each time
	// Skipped are the invalid names with Submission.SkipInvalid; nil = none.
	Skipped *NamesError
	// SkippedExclude are those of the list to exclude, so that nobody was left
	// out for them; nil = none.
	SkippedExclude *NamesError
}

// loading turns the names of a submission into segments of whole batches.
// Whoever cuts them does it here, so that a plan is what a job becomes.
type loading struct {
	campaign *campaign
	names    Names
	sub      Submission
	// batch, if not nil, is told of each call: its targets and the bytes of its body.
	batch func(targets, bytes int)
	// extends: the lines begin with targets of a job that may have got no others.
	extends bool
	// segment, if not nil, takes a segment. The lines are lent.
	segment func(ctx context.Context, lines []byte, count int) error

	seen             *targets.Set
	list             List
	skipped, exclude NamesError // of the list, of the list to exclude
	lines            []byte     // targets not yet in a segment, then names not yet sifted
	count, sifted    int        // of these targets; of their bytes
	unsifted         int        // of these names
	segments         int
}

// newLoading checks what can be known of a submission before its names are read.
func newLoading(sub Submission, limits Limits) (*loading, error) {
	names, err := chooseNames(sub.Document, sub.Names)
	if err != nil {
		return nil, err
	}
	if err := sub.Document.measure(limits); err != nil {
		return nil, err
	}
	c, err := newCampaign(sub.Document, &limits)
	if err != nil {
		return nil, fault("msg", "leaves no room for a target in a body of %d bytes", limits.MaxBody)
	}
	return &loading{campaign: &c, names: names, sub: sub, seen: targets.NewSet()}, nil
}

func chooseNames(d Document, names Names) (Names, error) {
	switch {
	case names != nil && d.Targets != nil:
		return nil, fault("target", "is given in the document and as a list")
	case names != nil:
		return names, nil
	case d.Targets != nil:
		return newArrayNames(string(d.Message.TargetType), d.Targets)
	default:
		return nil, fault("target", "is required")
	}
}

// run reads the lists to their ends. After the first invalid name that is not
// to be skipped it only looks for more of them.
func (l *loading) run(ctx context.Context) error {
	if l.sub.Exclude != nil {
		if err := l.readExclude(ctx); err != nil {
			return err
		}
	}
	err := readNames(ctx, l.names, l.skipped.add, func(name []byte) error {
		if l.skipped.Count > 0 && !l.sub.SkipInvalid {
			return nil
		}
		l.lines = append(append(l.lines, name...), '\n')
		if l.unsifted++; l.unsifted < siftAt {
			return nil
		}
		return l.sift(ctx)
	})
	if err != nil {
		return err
	}
	if err := l.sift(ctx); err != nil {
		return err
	}
	switch {
	case l.skipped.Count > 0 && !l.sub.SkipInvalid:
		return &l.skipped
	case l.list.Total == 0 && !l.extends:
		return l.nobody()
	case l.list.Total == 0 && l.segments == 0: // the last segment stays as it is
		l.count = 0
	}
	for l.count > 0 {
		if err := l.cut(ctx); err != nil {
			return err
		}
	}
	l.list.Skipped, l.list.SkippedExclude = l.skipped.orNil(), l.exclude.orNil()
	return nil
}

// readExclude reads the list to exclude. A line of it that is no name is a
// fault, too: who was to be left out cannot be told.
func (l *loading) readExclude(ctx context.Context) error {
	invalid := func(err error) { l.exclude.add(fmt.Errorf("exclude: %w", err)) }
	err := readNames(ctx, l.sub.Exclude, invalid, func(name []byte) error {
		l.seen.Exclude(name)
		return nil
	})
	if err == nil && l.exclude.Count > 0 && !l.sub.SkipInvalid {
		return &l.exclude
	}
	return err
}

// siftAt is how many names are looked up together, which is quicker than one
// by one.
const siftAt = 256

// sift drops repeated and excluded names, and cuts a segment off the others
// when there are enough.
func (l *loading) sift(ctx context.Context) error {
	kept, met := l.seen.Sift(l.lines[l.sifted:])
	l.sifted += len(kept)
	l.lines, l.unsifted = l.lines[:l.sifted], 0
	l.count += met[targets.Fresh]
	l.list.Total += met[targets.Fresh]
	l.list.Duplicates += met[targets.Repeated]
	l.list.Excluded += met[targets.Excluded]
	if l.sub.Progress != nil {
		if err := l.sub.Progress(l.list.Total); err != nil {
			return err
		}
	}
	// One batch more than a segment takes, so that its last batch is as full
	// as it would be in an endless list.
	if l.count < segmentTargets+l.campaign.cut.MaxTargets {
		return nil
	}
	return l.cut(ctx)
}

// cut cuts whole batches off the front of the lines until they make a segment.
func (l *loading) cut(ctx context.Context) error {
	rest, count := l.lines, 0
	for count < segmentTargets && len(rest) > 0 {
		var b chunker.Batch
		var err error
		if b, rest, err = l.campaign.cut.Next(rest); err != nil {
			return fault("msg", "leaves no room: %v", err)
		}
		count += b.Count
		if l.batch != nil {
			l.batch(b.Count, l.campaign.cut.Overhead+b.Bytes)
		}
	}
	if l.segment != nil {
		if err := l.segment(ctx, l.lines[:len(l.lines)-len(rest)], count); err != nil {
			return err
		}
	}
	l.lines = append(l.lines[:0], rest...)
	l.sifted = len(rest)
	l.count -= count
	l.segments++
	return nil
}

// nobody says why no target is left.
func (l *loading) nobody() error {
	var why []string
	if l.list.Excluded > 0 {
		why = append(why, fmt.Sprintf("%d excluded", l.list.Excluded))
	}
	if l.skipped.Count > 0 {
		why = append(why, fmt.Sprintf("%d invalid", l.skipped.Count))
	}
	field := l.sub.Document.listField()
	if why == nil {
		return fault(field, "must name at least one target")
	}
	return fault(field, "must name at least one target: all names of the list are left out (%s)", strings.Join(why, ", "))
}
