package targets

import (
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// headers are the columns that hold names, the most telling first.
var headers = []string{"target", "username", "user", "id"}

// ColumnError says that a CSV list has no column of the name that was asked for.
type ColumnError struct{ Column, Has string }

func (e *ColumnError) Error() string {
	return fmt.Sprintf("targets: no column %q; the columns are %s", e.Column, e.Has)
}

const maxColumns = 20 // columns that an error lists

var errUnclosed = errors.New("a quoted cell is longer than 1 MiB: is a quote not closed?")

// csvSource gives the cells of one column.
type csvSource struct {
	lines  *lines
	rows   *csv.Reader
	column string // the header asked for, "" = any of headers
	index  int    // of the column in a row; -1 = the first row is still to be read
	cell   []byte

	pending []byte // of the current line: what rows has not read yet
	taken   int    // bytes of the current record so far
}

func newCSVSource(l *lines, column string) *csvSource {
	s := &csvSource{lines: l, column: strings.TrimSpace(column), index: -1}
	s.rows = csv.NewReader(s)
	s.rows.FieldsPerRecord = -1 // only the one column matters
	s.rows.ReuseRecord = true
	s.rows.TrimLeadingSpace = true // else a quote behind a space is an error
	return s
}

// Read hands lines to the CSV reader one at a time. So a line that is too long
// can be left out as a whole, and a quote that is never closed cannot draw the
// rest of the list into memory.
func (s *csvSource) Read(p []byte) (int, error) {
	if len(s.pending) == 0 {
		text, err := s.lines.next()
		if errors.Is(err, errLineTooLong) && s.taken > 0 {
			err = errUnclosed // the line stands within a quoted cell
		}
		if err != nil {
			return 0, err
		}
		if s.taken > 0 || len(trim(text)) > 0 {
			s.taken += len(text) // blank lines before a record are not part of it
		}
		if s.taken > maxLine {
			return 0, errUnclosed
		}
		s.pending = text
	}
	n := copy(p, s.pending)
	s.pending = s.pending[n:]
	return n, nil
}

func (s *csvSource) next() ([]byte, int, error) {
	row, line, err := s.row()
	if s.index < 0 {
		isHeader, bad := s.findColumn(row, err)
		if bad != nil {
			return nil, line, bad
		}
		if isHeader {
			row, line, err = s.row()
		}
	}
	if err != nil {
		return nil, line, err
	}
	if s.index >= len(row) {
		return nil, line, invalid(line, []byte(strings.Join(row, ",")), fmt.Errorf("has no column %d", s.index+1))
	}
	s.cell = append(s.cell[:0], row[s.index]...)
	return trim(s.cell), line, nil
}

// row reads the next row that has anything in it, and the number of its first line.
func (s *csvSource) row() ([]string, int, error) {
	for {
		s.taken = 0
		row, err := s.rows.Read()
		if err != nil {
			return nil, s.lines.count, s.rowError(err)
		}
		for _, cell := range row {
			if trim(cell) != "" {
				line, _ := s.rows.FieldPos(0)
				return row, line, nil
			}
		}
	}
}

// rowError sorts out what costs one line only. A faulty record of several lines
// does not: the names that an unclosed quote has swallowed would be lost behind
// a single invalid line.
func (s *csvSource) rowError(err error) error {
	var fault *csv.ParseError
	switch {
	case errors.Is(err, errLineTooLong):
		return &InvalidError{Line: s.lines.count, Problem: err.Error()}
	case errors.Is(err, errUnclosed):
		return fmt.Errorf("targets: line %d: %w", s.lines.count, err)
	case !errors.As(err, &fault):
		return readError(err)
	case fault.StartLine == fault.Line:
		return &InvalidError{Line: fault.Line, Problem: fmt.Sprintf("is no CSV at byte %d: %v", fault.Column, fault.Err)}
	default:
		return fmt.Errorf("targets: the quoted cell from line %d to line %d is no CSV: %w", fault.StartLine, fault.Line, fault.Err)
	}
}

// findColumn finds the column of the names by the first row, or by the error
// that reading it met, and tells whether that row is a header.
func (s *csvSource) findColumn(row []string, err error) (isHeader bool, bad error) {
	if fault := (*InvalidError)(nil); errors.As(err, &fault) {
		// Not wrapped: it costs the whole list, not one line.
		return false, fmt.Errorf("targets: the first row, which may name the columns, cannot be read: %s", fault.Error())
	}
	if err != nil {
		return false, err
	}
	names := headers
	if s.column != "" {
		names = []string{s.column}
	}
	for _, name := range names {
		s.index = slices.IndexFunc(row, func(cell string) bool {
			return strings.EqualFold(strings.TrimSpace(cell), name)
		})
		if s.index >= 0 {
			return true, nil
		}
	}
	if s.column != "" {
		return false, &ColumnError{Column: s.column, Has: listColumns(row)}
	}
	s.index = 0
	return false, nil
}

func listColumns(row []string) string {
	var b strings.Builder
	for i, cell := range row[:min(len(row), maxColumns)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.*q", maxText, cell)
	}
	if len(row) > maxColumns {
		fmt.Fprintf(&b, " and %d more", len(row)-maxColumns)
	}
	return b.String()
}
