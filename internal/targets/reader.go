// Package targets reads lists of targets: it knows their formats, checks every
// name by the rules of its kind, and tells repeated and excluded names apart.
//
// Invariant: a name that the Reader gives is whole and valid, in the form in
// which it is sent; a line that holds no such name is reported with its number
// and never dropped in silence, and a list that breaks off ends with an error.
// To a Set every name is fresh at most once.
//
// It holds no list: names are lent one at a time, and who wants the list keeps
// it. It knows nothing of jobs, batches or the network.
package targets

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Options say what a list holds.
type Options struct {
	// Kind of the targets: Users, Groups or Rooms.
	Kind string
	// Column with the names, in a CSV list by its header, in an NDJSON list the
	// member of an object; case does not matter. Empty: the column target,
	// username, user or id, the first of these that is there. A CSV list whose
	// first row has none has no header: that row is data like all others, and
	// the first column counts. An object with none is an invalid line.
	Column string
	// Gzip: the list must be gzip data, of one or more members. Without it a list
	// may be gzip data, and is known as such by its first two bytes. As the
	// checksum stands at the end, so does the error that names before it may be wrong.
	Gzip bool
}

// InvalidError is a line without a valid name. Reading goes on behind it.
type InvalidError struct {
	Line    int    // counts from 1; of a record of several lines, the first
	Text    string // what stands there, quoted, of it at most 80 bytes; "" if not known
	Problem string // to stand behind Text in a sentence: "is empty"
}

func (e *InvalidError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("line %d %s", e.Line, e.Problem)
	}
	return fmt.Sprintf("line %d: %s %s", e.Line, e.Text, e.Problem)
}

const maxText = 80 // bytes of a faulty line that are shown

// invalid makes the error of a line, and copies what it needs of text.
func invalid(line int, text []byte, problem error) *InvalidError {
	end := len(text)
	if end > maxText {
		end = maxText
		for end > maxText-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end-- // not within a character
		}
	}
	shown := quote(string(text[:end]))
	if end < len(text) {
		shown += "..."
	}
	return &InvalidError{Line: line, Text: shown, Problem: problem.Error()}
}

// quote spares JSON the backslashes.
func quote(text string) string {
	if strings.Contains(text, `"`) && strconv.CanBackquote(text) {
		return "`" + text + "`"
	}
	return strconv.Quote(text)
}

// source gives the raw cells of a list, blank ones left out, each lent until
// the next call. Errors are those of Reader.Next.
type source interface {
	next() (cell []byte, line int, err error)
}

// Reader reads a list of targets as a stream. It is not for concurrent use.
type Reader struct {
	source  source
	letters *alphabet
	name    [MaxBytes]byte
	failed  error // the end, or what broke the stream
	close   func() error
}

// Open reads the list in a file, whose extension tells the format and a further
// .gz that it is packed, or with the path "-" from standard input, one name a
// line. Close it after use.
func Open(path string, opt Options) (*Reader, error) {
	if path == "-" {
		return NewReader(os.Stdin, Text, opt)
	}
	format, packed, err := formatOf(path)
	if err != nil {
		return nil, err
	}
	opt.Gzip = opt.Gzip || packed
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	r, err := NewReader(f, format, opt)
	if err != nil {
		_ = f.Close() // read only: nothing can be lost
		return nil, err
	}
	r.close = f.Close
	return r, nil
}

// NewReader reads a list from r, from which it may read ahead. It fails on
// options that make no sense, before it reads anything.
func NewReader(r io.Reader, format Format, opt Options) (*Reader, error) {
	letters, err := alphabetOf(opt.Kind)
	if err != nil {
		return nil, err
	}
	reader := &Reader{letters: letters, close: func() error { return nil }}
	switch format {
	case Text:
		if opt.Column != "" {
			return nil, fmt.Errorf("targets: a %s list has no columns, so no column %q", format, opt.Column)
		}
		reader.source = (*textSource)(newLines(r, opt.Gzip))
	case CSV:
		reader.source = newCSVSource(newLines(r, opt.Gzip), opt.Column)
	case NDJSON:
		reader.source = newJSONSource(newLines(r, opt.Gzip), opt.Column)
	default:
		return nil, fmt.Errorf("targets: unknown format %q (known: %s, %s, %s)", format, Text, CSV, NDJSON)
	}
	return reader, nil
}

// Next gives the next name, normalized and lent until the next call, and the
// number of its line, from 1. It costs no allocation, but for a row of CSV the one
// string that encoding/csv makes of it.
//
// An *InvalidError is about one line: the next call reads on behind it. Every
// other error is the end, and stays: io.EOF, or what keeps the list from being
// read further, such as an absent column.
func (r *Reader) Next() (name []byte, line int, err error) {
	if r.failed != nil {
		return nil, 0, r.failed
	}
	cell, line, err := r.source.next()
	if err != nil {
		if bad := (*InvalidError)(nil); !errors.As(err, &bad) {
			r.failed = err
		}
		return nil, line, err
	}
	if r.letters.sentAsIs(cell) { // as most are
		return cell, line, nil
	}
	name, err = r.letters.normalize(r.name[:0], cell)
	if err != nil {
		return nil, line, invalid(line, cell, err)
	}
	return name, line, nil
}

// Close closes the file that Open opened; standard input and the stream given
// to NewReader stay open.
func (r *Reader) Close() error { return r.close() }

// textSource takes every line that is not blank as a cell.
type textSource lines

func (s *textSource) next() ([]byte, int, error) {
	l := (*lines)(s)
	text, err := l.nextFilled()
	return text, l.count, err
}
