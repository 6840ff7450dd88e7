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
// its lists open and progress shown.
func (c *jobFlags) read(ctx context.Context, a *app, use func(tasks.Submission) error) error {
	if err := c.checkLists(); err != nil {
		return err
	}
	document, err := c.document(ctx, a)
	if err != nil {
		return err
	}
	sub := tasks.Submission{Document: document, SkipInvalid: c.SkipInvalid}
	kind := string(document.Message.TargetType)
	if c.Targets != nil {
		l, err := c.open(ctx, a, "--targets", *c.Targets, kind)
		if err != nil {
			return err
		}
		defer l.close()
		sub.Names = l
	}
	var exclude lists
	for _, path := range c.Exclude {
		l, err := c.open(ctx, a, "--exclude", path, kind)
		if err != nil {
			return err
		}
		defer l.close()
		exclude = append(exclude, l)
	}
	if exclude != nil {
		sub.Exclude = &exclude
	}
	// Nearly all memory is what tells millions of names apart, and lives to the
	// end: the default would let as much garbage pile up beside it.
	defer debug.SetGCPercent(debug.SetGCPercent(loadGCPercent))
	bar := newLoadProgress(a.err)
	defer bar.end()
	sub.Progress = bar.loaded
	return use(sub)
}

// loadGCPercent keeps a list of ten million names, whatever its format, well
// within 256 MiB of memory.
const loadGCPercent = 10

// checkLists finds what makes no sense of the flags about lists together.
func (c *jobFlags) checkLists() error {
	var readers []string // of standard input
	if c.Job != nil && *c.Job == "-" {
		readers = append(readers, "--job")
	}
	if c.Targets != nil && *c.Targets == "-" {
		readers = append(readers, "--targets")
	}
	for _, path := range c.Exclude {
		if path == "-" {
			readers = append(readers, "--exclude")
		}
	}
	if len(readers) > 1 {
		return usage("%s cannot both read standard input", strings.Join(readers[:2], " and "))
	}
	columns := c.Targets != nil && hasColumns(*c.Targets) || slices.ContainsFunc(c.Exclude, hasColumns)
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

// hasColumns tells lists in which --column has a meaning from lists of lines:
// the two may go together, one of them to be left out of the other.
func hasColumns(path string) bool {
	name := strings.TrimSuffix(strings.ToLower(path), ".gz")
	return name != "-" && filepath.Ext(name) != ".txt"
}

func (l list) close() { _ = l.Close() } // read only

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

// lists are several lists, one behind the other. Faults of lines name theirs.
type lists []list

// Next gives the next name.
func (l *lists) Next() ([]byte, int, error) {
	for len(*l) > 0 {
		name, line, err := (*l)[0].Next()
		switch {
		case errors.Is(err, io.EOF):
			*l = (*l)[1:]
		case ofLine(err):
			return nil, line, fmt.Errorf("%s: %w", (*l)[0].path, err)
		default:
			return name, line, err
		}
	}
	return nil, 0, io.EOF
}

// tellSkipped says which names were left out since they are none.
func (a *app) tellSkipped(list, exclude *tasks.NamesError) {
	if list != nil {
		fmt.Fprintf(a.err, "skipped, %d invalid names:\n%v\n", list.Count, list)
	}
	if exclude != nil {
		fmt.Fprintf(a.err, "skipped, %d invalid names of what is to be excluded: nobody is left out for them:\n%v\n", exclude.Count, exclude)
	}
}
