package apiclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Envelope returns the constant bytes before and after the list of targets, so
// that a body is head + `"a","b"` + tail. An Ext without members is left out,
// as is an empty From: the vendor refuses what is present and empty.
// The message should have passed Check; Envelope itself only fails on what
// would not become a JSON document of that form.
func (m Message) Envelope(form Form) (head, tail []byte, err error) {
	if !m.TargetType.Valid() {
		return nil, nil, fmt.Errorf("apiclient: envelope: unknown target type %q", m.TargetType)
	}
	msg, err := members(m.Msg)
	if err != nil {
		return nil, nil, fmt.Errorf("apiclient: envelope: msg %w", err)
	}
	var b bytes.Buffer
	switch form {
	case FormUnified:
		head = []byte(`{"target_type":"` + string(m.TargetType) + `","target":[`)
		b.WriteString(`],"msg":`)
		b.Write(m.Msg)
	case FormSplit:
		head = []byte(`{"to":[`)
		b.WriteByte(']')
		writeSplitMsg(&b, msg)
	default:
		return nil, nil, fmt.Errorf("apiclient: envelope: unknown form %q", form)
	}
	if m.From != "" {
		writeMember(&b, "from", quote(m.From))
	}
	if len(m.Ext) > 0 && string(m.Ext) != "{}" {
		writeMember(&b, "ext", m.Ext)
	}
	for _, f := range m.Extra {
		writeMember(&b, f.Name, f.Value)
	}
	b.WriteByte('}')
	if !json.Valid(slices.Concat(head, b.Bytes())) {
		return nil, nil, errors.New("apiclient: envelope: ext or an extra field is no JSON")
	}
	return head, b.Bytes(), nil
}

// writeSplitMsg writes the members of msg as the split form wants them: the
// type moves out, the rest is the body.
func writeSplitMsg(b *bytes.Buffer, msg []Field) {
	var body bytes.Buffer
	for _, f := range msg {
		if f.Name == "type" {
			writeMember(b, f.Name, f.Value)
			continue
		}
		writeMember(&body, f.Name, f.Value)
	}
	b.WriteString(`,"body":{`)
	b.Write(bytes.TrimPrefix(body.Bytes(), []byte(",")))
	b.WriteByte('}')
}

func writeMember(b *bytes.Buffer, name string, value json.RawMessage) {
	b.WriteByte(',')
	b.Write(quote(name))
	b.WriteByte(':')
	b.Write(value)
}

// quote encodes s as a JSON string, without escaping what only HTML minds.
func quote(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
