package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"crier/internal/apiclient"
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

// NamesError lists the first invalid names of a list. As an error it says that
// nothing was stored, in a result that they were skipped.
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

func (e *NamesError) add(err error) {
	if e.Count++; e.Count <= maxFaults {
		e.Faults = append(e.Faults, err)
	}
}

// orNil returns e, or nil where every name was valid.
func (e *NamesError) orNil() *NamesError {
	if e.Count == 0 {
		return nil
	}
	return e
}

// readNames gives every valid name of a list to take, and every fault of one
// to invalid.
func readNames(ctx context.Context, names Names, invalid func(error), take func(name []byte) error) error {
	const lookUp = 10_000 // names between two looks at ctx
	for read := 1; ; read++ {
		if read%lookUp == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		name, _, err := names.Next()
		switch {
		case err == nil:
			if err := take(name); err != nil {
				return err
			}
		case isInvalidName(err):
			invalid(err)
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

// isInvalidName tells the fault of one name from the end of the list.
func isInvalidName(err error) bool {
	var line *targets.InvalidError
	var field apiclient.FieldError
	return errors.As(err, &line) || errors.As(err, &field)
}

// arrayNames are the targets that stand in a document.
type arrayNames struct {
	kind  string
	field string
	dec   *jsontext.Decoder
	index int
	name  []byte
}

func newArrayNames(kind string, array *TargetArray) (*arrayNames, error) {
	text, err := array.text()
	if err != nil {
		return nil, fmt.Errorf("tasks: %s: %w", array.field, err)
	}
	dec := jsontext.NewDecoder(text)
	_, _ = dec.ReadToken() // the bracket: the value was read as an array
	return &arrayNames{kind: kind, field: array.field, dec: dec, index: -1}, nil
}

func (a *arrayNames) Next() ([]byte, int, error) {
	if a.dec.PeekKind() == ']' {
		return nil, 0, io.EOF
	}
	value, err := a.dec.ReadValue()
	if err != nil {
		return nil, 0, fmt.Errorf("tasks: %s: %w", a.field, err)
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
	return apiclient.FieldError{Field: fmt.Sprintf("%s[%d]", a.field, a.index), Problem: problem}
}
