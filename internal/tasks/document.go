package tasks

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

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
	Targets *TargetArray // nil where the document has none

	split bool // written in the Chat API's split form
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

// ParseDocument is ReadDocument of a text.
func ParseDocument(text []byte) (Document, error) { return ReadDocument(bytes.NewReader(text)) }

// ReadDocument reads a document strictly: unknown and repeated fields are
// faults. It returns a *SyntaxError for what is no JSON, and an *InvalidError
// that names every fault of a document. The names in Targets are not looked
// at, and the message not measured: see Submit.
func ReadDocument(r io.Reader) (Document, error) {
	return readJob(r, func(msg jsontext.Value) (jsontext.Value, error) { return msg, nil })
}

// readJob reads a document, with what fill makes of its msg.
func readJob(r io.Reader, fill func(msg jsontext.Value) (jsontext.Value, error)) (Document, error) {
	members, err := readObject(r, "target")
	if err != nil {
		return Document{}, err
	}
	var d Document
	var faults faults
	for _, m := range members {
		switch m.name {
		case "id":
			d.ID = faults.id("id", m.value)
		case "options":
			d.Options = faults.options(m.value)
		case "msg":
			if m.value, err = fill(m.value); err != nil {
				return Document{}, err
			}
			fallthrough
		default:
			d.readUnified(m, &faults)
		}
	}
	return d.checked(&faults)
}

// ReadUnified reads the body of a call in the Chat API's unified form, with a
// list of targets of any length. Its errors are those of ReadDocument.
func ReadUnified(r io.Reader) (Document, error) {
	members, err := readObject(r, "target")
	if err != nil {
		return Document{}, err
	}
	var d Document
	var faults faults
	for _, m := range members {
		d.readUnified(m, &faults)
	}
	if d.Targets == nil {
		faults.add("target", "is required")
	}
	return d.checked(&faults)
}

func (d *Document) readUnified(m member, faults *faults) {
	switch m.name {
	case "target_type":
		d.Message.TargetType = apiclient.TargetType(faults.text("target_type", m.value))
	case "target":
		d.readTargets(m, faults)
	case "msg":
		d.Message.Msg = compact(m.value)
	default:
		d.readCommon(m, faults)
	}
}

// ReadSplit reads the body of a call in the Chat API's split form, to targets of
// a type, with a list of any length. Its errors are those of ReadDocument, and
// name fields as they are written in this form.
func ReadSplit(r io.Reader, to apiclient.TargetType) (Document, error) {
	members, err := readObject(r, "to")
	if err != nil {
		return Document{}, err
	}
	d := Document{split: true, Message: apiclient.Message{TargetType: to}}
	var faults faults
	var kind, body jsontext.Value
	for _, m := range members {
		switch m.name {
		case "to":
			d.readTargets(m, &faults)
		case "type":
			kind = m.value
		case "body":
			body = m.value
		default:
			d.readCommon(m, &faults)
		}
	}
	if d.Targets == nil {
		faults.add("to", "is required")
	}
	d.Message.Msg = faults.joined(kind, body)
	return d.checked(&faults)
}

// joined makes one msg object of the two fields of the split form.
func (f *faults) joined(kind, body jsontext.Value) []byte {
	if body != nil && body.Kind() != '{' {
		f.add("body", "must be a JSON object")
		body = nil
	}
	if body == nil {
		body = jsontext.Value("{}")
	}
	members, err := readObject(bytes.NewReader(body), "")
	if err != nil {
		f.add("body", "%v", err) // it was read as JSON before
	}
	for _, m := range members {
		if m.name == "type" {
			f.add("body.type", "stands beside body in this form, not in it")
		}
	}
	if kind == nil {
		return compact(body)
	}
	msg := append([]byte(`{"type":`), kind...)
	if len(members) > 0 {
		msg = append(msg, ',')
	}
	return compact(append(msg, bytes.TrimPrefix(body, []byte("{"))...))
}

func (d *Document) readTargets(m member, faults *faults) {
	if d.Targets = m.list; d.Targets == nil {
		faults.add(m.name, "must be an array of names")
		d.Targets = &TargetArray{field: m.name, raw: []byte("[]")}
	}
}

// readCommon reads a field that both forms have.
func (d *Document) readCommon(m member, faults *faults) {
	switch {
	case m.name == "from":
		if d.Message.From = faults.text("from", m.value); string(m.value) == `""` {
			faults.add("from", "must not be empty: leave it out")
		}
	case m.name == "ext":
		d.Message.Ext = compact(m.value)
	case slices.Contains(apiclient.ExtraFields(), m.name):
		d.Message.Extra = append(d.Message.Extra, apiclient.Field{Name: m.name, Value: compact(m.value)})
	default:
		faults.add(m.name, "is not a field that is known here")
	}
}

// checked holds a document that was read against the vendor's rules.
func (d Document) checked(faults *faults) (Document, error) {
	known := apiclient.ExtraFields()
	slices.SortFunc(d.Message.Extra, func(a, b apiclient.Field) int {
		return slices.Index(known, a.Name) - slices.Index(known, b.Name)
	})
	faults.merge(d.written(d.Message.Check(0)))
	if len(faults.list) > 0 && d.Targets != nil && d.Message.TargetType.Valid() {
		faults.names(string(d.Message.TargetType), d.Targets) // of a document without faults they are read later
	}
	return d, faults.err()
}

// listField is the name of the list of targets.
func (d Document) listField() string {
	if d.split {
		return "to"
	}
	return "target"
}

// written names fields as they are written in the document's form.
func (d Document) written(faults []apiclient.FieldError) []apiclient.FieldError {
	if !d.split {
		return faults
	}
	for i, f := range faults {
		switch {
		case f.Field == "msg.type":
			faults[i].Field = "type"
		case f.Field == "msg" || strings.HasPrefix(f.Field, "msg."):
			faults[i].Field = "body" + strings.TrimPrefix(f.Field, "msg")
		}
	}
	return faults
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
