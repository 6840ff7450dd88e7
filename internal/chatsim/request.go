package chatsim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// form is the shape of a message call: the unified form names its target type
// in the body, each split form in the path.
type form struct {
	split TargetType // empty: the unified form
}

// targetField and messageField are the names that differ between the forms.
func (f form) targetField() string {
	if f.split == "" {
		return "target"
	}
	return "to"
}

func (f form) messageField() string {
	if f.split == "" {
		return "msg"
	}
	return "body"
}

// refuse words a wrong field: the split form's service has a name of its own
// for it.
func (f form) refuse(format string, args ...any) *refusal {
	r := illegalArgument(format, args...)
	if f.split != "" {
		r = sendError(format, args...)
	}
	return &r
}

// request is a message call that was understood. msg and ext are parts of the
// call's body, as they were encoded.
type request struct {
	targetType TargetType
	targets    []string // as received
	kind       string   // message type, such as txt
	from       string   // empty = not given
	msg        jsontext.Value
	ext        jsontext.Value // nil = not given
}

// decode understands a message call's body, or says why not. targets is the
// memory to use for the list.
func (f form) decode(body []byte, targets []string) (*request, *refusal) {
	fields, refused := decodeObject(body)
	if refused != nil {
		return nil, refused
	}
	if refused := f.checkNames(fields); refused != nil {
		return nil, refused
	}
	req := &request{targetType: f.split, msg: fields[f.messageField()], ext: fields["ext"]}
	if f.split == "" {
		name, ok := stringOf(fields["target_type"])
		if !ok {
			return nil, f.refuse("target_type must be provided")
		}
		if req.targetType = TargetType(name); !req.targetType.known() {
			return nil, f.refuse("target_type must be users, chatgroups or chatrooms")
		}
	}
	var ok bool
	if req.targets, ok = decodeStrings(fields[f.targetField()], targets); !ok || len(req.targets) == 0 || slices.Contains(req.targets, "") {
		return nil, f.refuse("param %s can't be empty and must be an array of names", f.targetField())
	}
	if raw, given := fields["from"]; given {
		if req.from, ok = stringOf(raw); !ok || req.from == "" {
			return nil, f.refuse("param from can't be empty")
		}
	}
	if req.ext != nil && req.ext.Kind() != jsontext.KindBeginObject {
		return nil, f.refuse("param ext must be JSONObject")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if rule := passedOn[name]; rule != nil && !rule.holds(fields[name]) {
			return nil, f.refuse("param %s must be %s", name, rule.must)
		}
	}
	return req, f.decodeMessage(req, fields)
}

// checkNames refuses fields that the form does not have.
func (f form) checkNames(fields map[string]jsontext.Value) *refusal {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch {
		case name == "from", name == "ext", name == f.targetField(), name == f.messageField(), passedOn[name] != nil:
		case f.split == "" && name == "target_type", f.split != "" && name == "type":
		default:
			r := illegalArgument("unknown field %s", name)
			return &r
		}
	}
	return nil
}

// decodeMessage finds the message's type and checks its fields.
func (f form) decodeMessage(req *request, fields map[string]jsontext.Value) *refusal {
	if req.msg.Kind() != jsontext.KindBeginObject {
		return f.refuse("param %s must be JSONObject", f.messageField())
	}
	message, refused := decodeObject(req.msg)
	if refused != nil {
		return refused
	}
	kind := message["type"]
	if f.split != "" {
		if kind != nil {
			return f.refuse("param body must not have a type")
		}
		kind = fields["type"]
	}
	var ok bool
	if req.kind, ok = stringOf(kind); !ok || req.kind == "" {
		return f.refuse("param type can't be empty")
	}
	rules, known := messageRules[req.kind]
	if !known {
		return f.refuse("unknown message type %s", req.kind)
	}
	for _, r := range rules {
		value, given := message[r.field]
		switch {
		case !given && r.required:
			return f.refuse("%s message: %s must be provided", req.kind, r.field)
		case given && !r.rule.holds(value):
			return f.refuse("%s message: %s must be %s", req.kind, r.field, r.rule.must)
		}
	}
	return nil
}

// decodeObject reads a JSON object and nothing after it. Names must not
// repeat; values are parts of data.
func decodeObject(data []byte) (map[string]jsontext.Value, *refusal) {
	fields := make(map[string]jsontext.Value, 8)
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	if err := readFields(dec, data, fields); err != nil {
		return nil, parseRefusal(data, int(dec.InputOffset()), err)
	}
	return fields, nil
}

func readFields(dec *jsontext.Decoder, data []byte, fields map[string]jsontext.Value) error {
	open, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if open.Kind() != jsontext.KindBeginObject {
		return errors.New("the body must be an object")
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		name := token.String() // before the next read takes the token's memory
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		end := int(dec.InputOffset())
		fields[name] = data[end-len(value) : end]
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the object")
	}
	return nil
}

// parseRefusal words a syntax error found at or after offset like the vendor
// page's sample does.
func parseRefusal(data []byte, offset int, err error) *refusal {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		offset, err = int(syntax.ByteOffset), syntax.Err
	}
	offset = min(offset, len(data))
	what := "Unexpected end-of-input"
	if offset < len(data) {
		char, _ := utf8.DecodeRune(data[offset:])
		what = fmt.Sprintf("Unexpected character ('%c' (code %d))", char, char)
	}
	line := bytes.Count(data[:offset], []byte("\n")) + 1
	column := offset - bytes.LastIndexByte(data[:offset], '\n')
	return &refusal{
		status: http.StatusBadRequest, name: "json_parse", exception: "org.codehaus.jackson.JsonParseException",
		description: fmt.Sprintf("%s: %v\n at [Source: java.io.BufferedInputStream@7ba7eef2; line: %d, column: %d]", what, err, line, column),
	}
}

// decodeStrings reads an array of strings into list, which it overwrites.
func decodeStrings(value jsontext.Value, list []string) ([]string, bool) {
	list = list[:0]
	if value.Kind() != jsontext.KindBeginArray {
		return list, false
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(value))
	if _, err := dec.ReadToken(); err != nil {
		return list, false
	}
	for {
		token, err := dec.ReadToken()
		switch {
		case err != nil:
			return list, false
		case token.Kind() == jsontext.KindEndArray:
			return list, true
		case token.Kind() != jsontext.KindString:
			return list, false
		}
		list = append(list, token.String())
	}
}

// stringOf reads a JSON string; ok is false for anything else.
func stringOf(value jsontext.Value) (text string, ok bool) {
	if value.Kind() != jsontext.KindString {
		return "", false
	}
	unquoted, err := jsontext.AppendUnquote(nil, value)
	return string(unquoted), err == nil
}

// isJSON reports whether the body is plain, uncompressed JSON.
func isJSON(header http.Header) bool {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && media == "application/json" && header.Get("Content-Encoding") == ""
}
