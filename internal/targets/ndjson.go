package targets

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonSource gives the JSON strings of a list, and those in one column of its
// JSON objects.
type jsonSource struct {
	lines   *lines
	columns []string // the first of these that an object has counts
	decoder *jsontext.Decoder
	options []jsontext.Options
	buffer  bytes.Buffer // what decoder reads: the line itself, not a copy
	key     []byte
	cell    []byte
}

func newJSONSource(l *lines, column string) *jsonSource {
	s := &jsonSource{lines: l, columns: headers}
	if column != "" {
		s.columns = []string{column}
	}
	// Of members that are there twice, only the column leaves a doubt.
	s.options = []jsontext.Options{jsontext.AllowDuplicateNames(true)}
	s.decoder = jsontext.NewDecoder(&s.buffer, s.options...)
	return s
}

func (s *jsonSource) next() ([]byte, int, error) {
	text, err := s.lines.nextFilled()
	line := s.lines.count
	if err != nil {
		return nil, line, err
	}
	if isPlainString(text) {
		return trim(text[1 : len(text)-1]), line, nil
	}
	value, err := s.find(text)
	if err != nil {
		return nil, line, invalid(line, text, err)
	}
	cell, err := s.unquote(value)
	if err != nil {
		return nil, line, invalid(line, value, err)
	}
	return trim(cell), line, nil
}

// isPlainString tells whether text is a JSON string without escapes. Whether it
// is UTF-8 can stay open: what is none is no name either.
func isPlainString(text []byte) bool {
	last := len(text) - 1
	if last < 1 || text[0] != '"' || text[last] != '"' {
		return false
	}
	for _, c := range text[1:last] {
		if c == '"' || c == '\\' || c < ' ' {
			return false
		}
	}
	return true
}

// find gives the value that should hold the name: the only one of the line, or
// that in the column of an object.
func (s *jsonSource) find(text []byte) ([]byte, error) {
	s.buffer = *bytes.NewBuffer(text)
	s.decoder.Reset(&s.buffer, s.options...)
	found, err := s.choose(text)
	if err == nil {
		end := s.decoder.InputOffset()
		if _, err = s.decoder.ReadToken(); err == nil {
			return nil, fmt.Errorf("is invalid JSON at byte %d: a second value", end+1)
		}
	}
	switch {
	case err != io.EOF: //nolint:errorlint // the decoder ends with exactly that
		return nil, syntaxProblem(err)
	case found.value == nil && len(s.columns) == 1:
		return nil, fmt.Errorf("has no column %q", s.columns[0])
	case found.value == nil:
		return nil, fmt.Errorf("has none of the columns %s", strings.Join(s.columns, ", "))
	case found.twice:
		return nil, fmt.Errorf("has the column %s twice", found.key)
	}
	return found.value, nil
}

func syntaxProblem(err error) error {
	var fault *jsontext.SyntacticError
	if errors.As(err, &fault) {
		return fmt.Errorf("is invalid JSON at byte %d: %w", fault.ByteOffset+1, fault.Err)
	}
	return fmt.Errorf("is invalid JSON: %w", err)
}

// candidate is the value in the best column so far.
type candidate struct {
	key, value []byte
	twice      bool // the column is there more than once
}

// choose reads one value, and of an object the one in the best column.
func (s *jsonSource) choose(text []byte) (best candidate, err error) {
	if s.decoder.PeekKind() != jsontext.KindBeginObject {
		best.value, err = s.read(text)
		return best, err
	}
	if _, err = s.decoder.ReadToken(); err != nil {
		return best, err
	}
	lowest := 2 * len(s.columns)
	for s.decoder.PeekKind() != jsontext.KindEndObject {
		key, err := s.read(text)
		if err != nil {
			return best, err
		}
		value, err := s.read(text)
		if err != nil {
			return best, err
		}
		switch rank := s.rank(key); {
		case rank < lowest:
			best, lowest = candidate{key: key, value: value}, rank
		case rank == lowest && best.value != nil:
			best.twice = true
		}
	}
	_, err = s.decoder.ReadToken()
	return best, err
}

// read reads a value. It is lent as long as text, of which it is a part.
func (s *jsonSource) read(text []byte) ([]byte, error) {
	value, err := s.decoder.ReadValue()
	end := int(s.decoder.InputOffset())
	return text[end-len(value) : end], err
}

// rank tells how good a column is: the lower the better, an exact name better
// than one in other case, and 2*len(columns) for a column of no interest.
func (s *jsonSource) rank(key []byte) int {
	name := key[1 : len(key)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		s.key, _ = jsontext.AppendUnquote(s.key[:0], key) // was read as a string
		name = s.key
	}
	for i, column := range s.columns {
		switch {
		case string(name) == column:
			return 2 * i
		case strings.EqualFold(string(name), column):
			return 2*i + 1
		}
	}
	return 2 * len(s.columns)
}

// unquote gives the name that a value stands for. Of an integer it is the very
// digits: ids have more of them than a float can hold.
func (s *jsonSource) unquote(value []byte) ([]byte, error) {
	switch kind := jsontext.Value(value).Kind(); kind {
	case jsontext.KindString:
		s.cell, _ = jsontext.AppendUnquote(s.cell[:0], value) // was read as a string
		return s.cell, nil
	case jsontext.KindNumber:
		for _, c := range value {
			if c < '0' || c > '9' {
				return nil, errors.New("is a JSON number, but no plain integer")
			}
		}
		return value, nil
	case jsontext.KindBeginObject:
		return nil, errors.New("is a JSON object, not a string")
	case jsontext.KindBeginArray:
		return nil, errors.New("is a JSON array, not a string")
	default:
		return nil, errors.New("is no JSON string")
	}
}
