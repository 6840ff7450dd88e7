package tasks

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"crier/internal/apiclient"
)

// InvalidError lists everything that is wrong with a document. Nothing was stored.
type InvalidError struct {
	Faults []apiclient.FieldError
}

func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// SyntaxError says that a text is no JSON at all.
type SyntaxError struct {
	Line, Column int // from 1; columns count bytes
	Problem      string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at line %d, column %d: %s", e.Line, e.Column, e.Problem)
}

func fault(field, problem string, args ...any) error {
	return &InvalidError{Faults: []apiclient.FieldError{{Field: field, Problem: fmt.Sprintf(problem, args...)}}}
}

// faults collects what is wrong, and reads values that may be.
type faults struct {
	list []apiclient.FieldError
}

func (f *faults) add(field, problem string, args ...any) {
	f.list = append(f.list, apiclient.FieldError{Field: field, Problem: fmt.Sprintf(problem, args...)})
}

// merge adds faults of fields that have none yet.
func (f *faults) merge(more []apiclient.FieldError) {
	for _, m := range more {
		if !slices.ContainsFunc(f.list, func(have apiclient.FieldError) bool { return have.Field == m.Field }) {
			f.list = append(f.list, m)
		}
	}
}

// names adds the first names of a list that are invalid.
func (f *faults) names(kind string, array *TargetArray) {
	list, err := newArrayNames(kind, array)
	for found := 0; err == nil && found < maxFaults; {
		var fault apiclient.FieldError
		if _, _, err = list.Next(); errors.As(err, &fault) {
			f.list, err = append(f.list, fault), nil
			found++
		}
	}
}

func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	return &InvalidError{Faults: f.list}
}

func (f *faults) text(field string, value jsontext.Value) string {
	var s string
	if value.Kind() != '"' || json.Unmarshal(value, &s) != nil {
		f.add(field, "must be a string")
	}
	return s
}

func (f *faults) integer(field string, value jsontext.Value, low, high int) int {
	var n int
	if value.Kind() != '0' || json.Unmarshal(value, &n) != nil || n < low || n > high {
		f.add(field, "must be a whole number from %d to %d", low, high)
	}
	return n
}

func (f *faults) oneOf(field string, value jsontext.Value, words ...string) string {
	s := f.text(field, value)
	if value.Kind() == '"' && !slices.Contains(words, s) {
		f.add(field, "must be %s", strings.Join(words, " or "))
	}
	return s
}

func (f *faults) time(field string, value jsontext.Value) time.Time {
	at, err := time.Parse(time.RFC3339Nano, f.text(field, value))
	if err != nil && value.Kind() == '"' {
		f.add(field, "must be a time such as 2026-12-01T09:00:00Z (RFC 3339)")
	}
	return at.UTC()
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// ValidID reports whether id can be a job's id.
func ValidID(id string) bool { return idPattern.MatchString(id) }

func (f *faults) id(field string, value jsontext.Value) string {
	s := f.text(field, value)
	if value.Kind() == '"' && !ValidID(s) {
		f.add(field, "must be 1 to 128 of A-Z a-z 0-9 . _ : - and begin with a letter or digit")
	}
	return s
}

const maxName = 200 // characters of options.name

func (f *faults) options(value jsontext.Value) (o Options) {
	if value.Kind() != '{' {
		f.add("options", "must be a JSON object")
		return o
	}
	members, err := readObject(bytes.NewReader(value), "")
	if err != nil {
		f.add("options", "%v", err)
		return o
	}
	for _, m := range members {
		field := "options." + m.name
		switch m.name {
		case "name":
			if o.Name = f.text(field, m.value); utf8.RuneCountInString(o.Name) > maxName {
				f.add(field, "must be at most %d characters", maxName)
			}
		case "priority":
			o.Urgent = f.oneOf(field, m.value, "bulk", "urgent") == "urgent"
		case "weight":
			o.Weight = f.integer(field, m.value, 1, 10)
		case "max_rate":
			o.MaxRate = f.integer(field, m.value, 0, math.MaxInt32)
		case "send_at":
			o.SendAt = f.time(field, m.value)
		case "expires_at":
			o.ExpiresAt = f.time(field, m.value)
		case "on_unknown":
			o.HoldLost = f.oneOf(field, m.value, "resend", "hold") == "hold"
		default:
			f.add(field, "is not an option that is known here")
		}
	}
	if !o.ExpiresAt.IsZero() && !o.ExpiresAt.After(o.SendAt) {
		f.add("options.expires_at", "must be later than options.send_at")
	}
	return o
}
