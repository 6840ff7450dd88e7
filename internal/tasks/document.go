package tasks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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

// Document is a send job as users write it: one JSON object, the same on the
// command line, over HTTP and in the raw queue. Field names are the Chat API's
// own; id and options are ours.
type Document struct {
	ID      string // "" = made by Submit
	Message apiclient.Message
	Options Options
	// Targets is the raw JSON array of names; nil where the document has none.
	Targets jsontext.Value
}

// Options are the part of a document that the Chat API does not see.
type Options struct {
	Name     string
	Urgent   bool
	Weight   int  // share among running bulk jobs, 1 to 10; 0 = not given, counts as 1
	MaxRate  int  // targets per second of this job, 0 = no cap of its own
	HoldLost bool // on_unknown "hold": targets of a lost answer end as unknown

	SendAt    time.Time // zero = at once
	ExpiresAt time.Time // zero = never
}

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

// ParseDocument reads a document strictly: unknown and repeated fields are
// faults. It returns a *SyntaxError for what is no JSON, and an *InvalidError
// that names every fault of a document. The names in Targets are not looked
// at, and the message not measured: see Submit.
func ParseDocument(text []byte) (Document, error) {
	members, err := readObject(text)
	if err != nil {
		return Document{}, err
	}
	var d Document
	var faults faults
	extra := map[string]jsontext.Value{}
	for _, m := range members {
		switch m.name {
		case "id":
			d.ID = faults.id("id", m.value)
		case "target_type":
			d.Message.TargetType = apiclient.TargetType(faults.text("target_type", m.value))
		case "target":
			if m.value.Kind() != '[' {
				faults.add("target", "must be an array of names")
			}
			d.Targets = m.value
		case "msg":
			d.Message.Msg = compact(m.value)
		case "from":
			if d.Message.From = faults.text("from", m.value); string(m.value) == `""` {
				faults.add("from", "must not be empty: leave it out")
			}
		case "ext":
			d.Message.Ext = compact(m.value)
		case "options":
			d.Options = faults.options(m.value)
		default:
			if !slices.Contains(apiclient.ExtraFields(), m.name) {
				faults.add(m.name, "is not a field that is known here")
			}
			extra[m.name] = compact(m.value)
		}
	}
	for _, name := range apiclient.ExtraFields() {
		if value, ok := extra[name]; ok {
			d.Message.Extra = append(d.Message.Extra, apiclient.Field{Name: name, Value: []byte(value)})
		}
	}
	faults.merge(d.Message.Check(0))
	return d, faults.err()
}

// Canonical returns the document without id and targets in a form that equal
// documents share: sorted names, shortest strings, defaults left out.
func (d Document) Canonical() ([]byte, error) {
	doc := map[string]any{"target_type": d.Message.TargetType, "msg": jsontext.Value(d.Message.Msg)}
	if d.Message.From != "" {
		doc["from"] = d.Message.From
	}
	if d.Message.Ext != nil {
		doc["ext"] = jsontext.Value(d.Message.Ext)
	}
	for _, f := range d.Message.Extra {
		doc[f.Name] = jsontext.Value(f.Value)
	}
	options := map[string]any{}
	if d.Options.Name != "" {
		options["name"] = d.Options.Name
	}
	if d.Options.Urgent {
		options["priority"] = "urgent"
	}
	if d.Options.Weight > 1 {
		options["weight"] = d.Options.Weight
	}
	if d.Options.MaxRate > 0 {
		options["max_rate"] = d.Options.MaxRate
	}
	if !d.Options.SendAt.IsZero() {
		options["send_at"] = d.Options.SendAt.Format(time.RFC3339Nano)
	}
	if !d.Options.ExpiresAt.IsZero() {
		options["expires_at"] = d.Options.ExpiresAt.Format(time.RFC3339Nano)
	}
	if d.Options.HoldLost {
		options["on_unknown"] = "hold"
	}
	if len(options) > 0 {
		doc["options"] = options
	}
	text, err := json.Marshal(doc, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("tasks: canonical document: %w", err)
	}
	value := jsontext.Value(text)
	if err := value.Format(jsontext.ReorderRawObjects(true)); err != nil {
		return nil, fmt.Errorf("tasks: canonical document: %w", err)
	}
	return value, nil
}

// compact returns the value without white space and with strings in their
// shortest form, so that it takes as little of a call's body as it can.
func compact(value jsontext.Value) []byte {
	v := value.Clone()
	if err := v.Format(); err != nil {
		return value // it was read as JSON before; Check looks at it again
	}
	return v
}

type member struct {
	name  string
	value jsontext.Value
}

// readObject reads the members of the one JSON object that text holds.
func readObject(text []byte) ([]member, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	dec := jsontext.NewDecoder(bytes.NewReader(text))
	if kind := dec.PeekKind(); kind != '{' {
		if _, err := dec.ReadToken(); err != nil {
			return nil, syntaxError(text, err)
		}
		return nil, &InvalidError{Faults: []apiclient.FieldError{{Field: "document", Problem: "must be a JSON object"}}}
	}
	_, _ = dec.ReadToken() // the brace just peeked
	var members []member
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, syntaxError(text, err)
		}
		m := member{name: name.String()}
		value, err := dec.ReadValue()
		if err != nil {
			return nil, syntaxError(text, err)
		}
		m.value = value.Clone()
		members = append(members, m)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, syntaxError(text, err)
	}
	if rest := text[dec.InputOffset():]; len(bytes.TrimSpace(rest)) > 0 {
		at := len(text) - len(bytes.TrimLeft(rest, " \t\r\n"))
		return nil, syntaxError(text, &jsontext.SyntacticError{
			ByteOffset: int64(at), Err: errors.New("something follows the end of the document"),
		})
	}
	return members, nil
}

// syntaxError turns what the JSON reader says into our words. A repeated name
// is a fault of that field, everything else has a place in the text.
func syntaxError(text []byte, err error) error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		syntax = &jsontext.SyntacticError{ByteOffset: int64(len(text)), Err: errors.New("the text ends before the document does")}
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		var path []string
		for token := range syntax.JSONPointer.Tokens() {
			path = append(path, token)
		}
		return &InvalidError{Faults: []apiclient.FieldError{{Field: strings.Join(path, "."), Problem: "is given twice"}}}
	}
	offset := min(int(syntax.ByteOffset), len(text))
	line := bytes.Count(text[:offset], []byte{'\n'}) + 1
	column := offset - bytes.LastIndexByte(text[:offset], '\n')
	problem := "the text ends before the document does"
	if syntax.Err != nil && !errors.Is(syntax.Err, io.ErrUnexpectedEOF) && !errors.Is(syntax.Err, io.EOF) {
		problem = syntax.Err.Error()
	}
	return &SyntaxError{Line: line, Column: column, Problem: problem}
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
	members, err := readObject(value)
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
