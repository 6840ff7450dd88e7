package tasks

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// AttachableTypes lists the types of messages that refer to a file.
func AttachableTypes() []string { return []string{"img", "audio", "video", "file"} }

// ReadDocument reads a document with the file in its message: url and secret, and,
// where the document does not say them itself, filename and the size of a
// picture. Its errors are those of ReadDocument; among them are a message that
// takes no file, or that has a url or secret already.
func (a Attachment) ReadDocument(r io.Reader) (Document, error) { return readJob(r, a.fill) }

// fill returns a msg object with the file in it.
func (a Attachment) fill(msg jsontext.Value) (jsontext.Value, error) {
	if msg.Kind() != '{' {
		return msg, nil // told as a fault of the document
	}
	fields, err := readObject(bytes.NewReader(msg), "")
	if err != nil {
		return nil, err
	}
	said := map[string]jsontext.Value{}
	for _, f := range fields {
		said[f.name] = f.value
	}
	var faults faults
	var kind string
	if _ = json.Unmarshal(said["type"], &kind); !slices.Contains(AttachableTypes(), kind) {
		faults.add("msg.type", "must be one of %s, to take the file of --attach", strings.Join(AttachableTypes(), ", "))
	}
	for _, name := range []string{"url", "secret"} {
		if said[name] != nil {
			faults.add("msg."+name, "must be left out: --attach gives it")
		}
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	add := func(name string, value any) {
		if said[name] == nil && err == nil {
			var text []byte
			text, err = json.Marshal(value)
			fields = append(fields, member{name: name, value: text})
		}
	}
	add("url", a.URL)
	if a.Secret != "" {
		add("secret", a.Secret)
	}
	add("filename", a.Filename)
	if kind == "img" && a.Width > 0 {
		add("size", struct {
			Width  int `json:"width"`
			Height int `json:"height"`
		}{a.Width, a.Height})
	}
	if err != nil {
		return nil, err
	}
	return writeObject(fields)
}

// writeObject writes what readObject has read.
func writeObject(members []member) (text []byte, err error) {
	text = append(text, '{')
	for i, m := range members {
		if i > 0 {
			text = append(text, ',')
		}
		if text, err = jsontext.AppendQuote(text, m.name); err != nil {
			return nil, err
		}
		text = append(append(text, ':'), m.value...)
	}
	return append(text, '}'), nil
}
