package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"crier/internal/targets"
	"crier/internal/tasks"
)

// read makes the submission that the flags describe and hands it to use, with
// its lists open and progress shown, and with the file that goes with it, nil =
// none. That is not uploaded yet.
func (c *jobFlags) read(ctx context.Context, a *app, use func(tasks.Submission, *attached) error) error {
	if err := c.checkLists(); err != nil {
		return err
	}
	file, err := c.openAttached()
	if err != nil {
		return err
	}
	defer file.close()
	document, err := c.document(ctx, a, file)
	if err != nil {
		return err
	}
	sub := tasks.Submission{Document: document, SkipInvalid: c.SkipInvalid}
	kind := string(document.Message.TargetType)
	names, err := c.openAll(ctx, a, "--targets", c.Targets, kind)
	defer names.close()
	if err != nil {
		return err
	}
	exclude, err := c.openAll(ctx, a, "--exclude", c.Exclude, kind)
	defer exclude.close()
	if err != nil {
		return err
	}
	if names.lists != nil {
		names.named = len(c.Targets) > 1
		sub.Names = &names
	}
	if exclude.lists != nil {
		exclude.named = true
		sub.Exclude = &exclude
	}
	var end func()
	sub.Progress, end = a.beginLoad()
	defer end()
	return use(sub, file)
}

// beginLoad prepares for a list of millions of names. It returns what shows
// how far the list is read, and what is to be called behind it.
func (a *app) beginLoad() (progress func(int) error, end func()) {
	// Nearly all memory is what tells millions of names apart, and lives to the
	// end: the default would let as much garbage pile up beside it.
	before := debug.SetGCPercent(loadGCPercent)
	bar := newLoadProgress(a.err)
	progress = func(n int) error {
		bar.loaded(n)
		return nil
	}
	return progress, func() {
		bar.end()
		debug.SetGCPercent(before)
	}
}

// loadGCPercent keeps a list of ten million names, whatever its format, well
// within 256 MiB of memory.
const loadGCPercent = 25

// checkLists finds what makes no sense of the flags about lists together.
func (c *jobFlags) checkLists() error {
	var readers []string // of standard input
	if c.Job != nil && *c.Job == "-" {
		readers = append(readers, "--job")
	}
	for flag, paths := range map[string][]string{"--targets": c.Targets, "--exclude": c.Exclude} {
		for _, path := range paths {
			if path == "-" {
				readers = append(readers, flag)
			}
		}
	}
	if len(readers) > 1 {
		slices.Sort(readers)
		return usage("%s cannot both read standard input", strings.Join(readers[:2], " and "))
	}
	columns := slices.ContainsFunc(c.Targets, hasColumns) || slices.ContainsFunc(c.Exclude, hasColumns)
	if c.Column != nil && !columns {
		return usage("--column %s: no list is given that has columns", *c.Column)
	}
	return nil
}

// list is an open list of names. What keeps it from being read is the fault of
// who gave it: an absent column, say, or a quote that is never closed. That of
// a single line stays as it is: reading goes on behind it.
type list struct {
	*targets.Reader
	flag, path string
}

// open opens a list of names of a kind.
func (c *jobFlags) open(ctx context.Context, a *app, flag, path, kind string) (list, error) {
	options := targets.Options{Kind: kind}
	if c.Column != nil && hasColumns(path) {
		options.Column = *c.Column
	}
	var reader *targets.Reader
	var err error
	if path == "-" {
		reader, err = targets.NewReader(a.input(ctx), targets.Text, options)
	} else {
		reader, err = targets.Open(path, options)
	}
	if err != nil {
		return list{}, usage("%s: %w", flag, err)
	}
	return list{Reader: reader, flag: flag, path: path}, nil
}

// openAll opens several lists. Close those it returns, beside an error too.
func (c *jobFlags) openAll(ctx context.Context, a *app, flag string, paths []string, kind string) (all lists, err error) {
	for _, path := range paths {
		l, err := c.open(ctx, a, flag, path, kind)
		if err != nil {
			return all, err
		}
		all.lists, all.opened = append(all.lists, l), append(all.opened, l)
	}
	return all, nil
}

// hasColumns tells lists in which --column has a meaning from lists of lines:
// the two may go together, one of them to be left out of the other.
func hasColumns(path string) bool {
	name := strings.TrimSuffix(strings.ToLower(path), ".gz")
	return name != "-" && filepath.Ext(name) != ".txt"
}

// Next gives the next name.
func (l list) Next() ([]byte, int, error) {
	name, line, err := l.Reader.Next()
	if err == nil || errors.Is(err, io.EOF) || ofLine(err) {
		return name, line, err
	}
	return nil, line, usage("%s: %w", l.flag, err)
}

func ofLine(err error) bool {
	var invalid *targets.InvalidError
	return errors.As(err, &invalid)
}

// lists are several lists, one behind the other.
type lists struct {
	lists  []list // that are still to be read
	opened []list
	named  bool // faults of lines name their list
}

// Next gives the next name.
func (l *lists) Next() ([]byte, int, error) {
	for len(l.lists) > 0 {
		name, line, err := l.lists[0].Next()
		switch {
		case err == nil:
			return name, line, nil
		case errors.Is(err, io.EOF):
			l.lists = l.lists[1:]
		case l.named && ofLine(err):
			return nil, line, fmt.Errorf("%s: %w", l.lists[0].path, err)
		default:
			return nil, line, err
		}
	}
	return nil, 0, io.EOF
}

func (l *lists) close() {
	for _, one := range l.opened {
		_ = one.Close() // read only
	}
}

// tellSkipped says which names were left out since they are none.
func (a *app) tellSkipped(list, exclude *tasks.NamesError) {
	if list != nil {
		fmt.Fprintf(a.err, "skipped, %d invalid %s:\n%v\n", list.Count, plural(list.Count, "name"), list)
	}
	if exclude != nil {
		fmt.Fprintf(a.err, "skipped, %d invalid %s of what is to be excluded: nobody is left out for them:\n%v\n", exclude.Count, plural(exclude.Count, "name"), exclude)
	}
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
