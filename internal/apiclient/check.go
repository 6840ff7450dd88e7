package apiclient

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxCustomExts  = 16 // vendor page, customExts
	maxRoamIgnored = 20 // newer vendor documents, roam_ignore_users
)

var (
	// The vendor folds names to lower case, so both cases are names (CHAT-API: "Names").
	userName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
	// Vendor page, customEvent.
	customEvent = regexp.MustCompile(`^[a-zA-Z0-9\-_/. ]{1,32}$`)
)

// A check looks at the value of the field at path and returns its faults.
type check func(path string, value json.RawMessage) []FieldError

// A rule is one field that the vendor knows.
type rule struct {
	name     string
	required bool
	check    check
}

func required(name string, c check) rule { return rule{name, true, c} }
func optional(name string, c check) rule { return rule{name, false, c} }

// messageTypes holds the fields inside msg per type (CHAT-API: "Message types").
var messageTypes = map[string][]rule{
	"txt": {required("msg", filled)},
	"img": {
		required("url", filled), optional("filename", text), optional("secret", text),
		optional("size", object(optional("width", amount), optional("height", amount))),
	},
	"audio": {required("url", filled), optional("filename", text), optional("length", amount), optional("secret", text)},
	"video": {
		required("url", filled), optional("filename", text), optional("thumb", text), optional("length", amount),
		optional("secret", text), optional("file_length", amount), optional("thumb_secret", text),
	},
	"file":   {required("url", filled), optional("filename", text), optional("secret", text)},
	"loc":    {required("lat", filled), required("lng", filled), required("addr", filled)},
	"cmd":    {required("action", filled), optional("param", anything)},
	"custom": {required("customEvent", event), optional("customExts", textMap)},
}

// extras are the fields beside msg that are passed on, with the values that the
// newer vendor documents allow.
var extras = []rule{
	optional("sync_device", boolean),
	optional("routetype", oneOf("ROUTE_ONLINE")),
	optional("chatroom_msg_level", oneOf("high", "normal", "low")),
	optional("need_group_ack", boolean),
	optional("roam_ignore_users", userNames),
}

// Check holds the message against the vendor's rules and returns all faults,
// in the order target_type, msg, from, ext, extras. maxMessage bounds the bytes
// of Msg and Ext together (CHAT-API: 4 kB by the page, 3 or 5 kB by newer
// documents); 0 = no bound.
func (m Message) Check(maxMessage int) []FieldError {
	var faults []FieldError
	if !m.TargetType.Valid() {
		faults = append(faults, fault("target_type", "must be users, chatgroups or chatrooms")...)
	}
	faults = append(faults, checkMsg(m.Msg)...)
	if m.From != "" && !userName.MatchString(m.From) {
		faults = append(faults, fault("from", "must be a user name: 1 to 64 of a-z 0-9 _ - .")...)
	}
	if m.Ext != nil {
		faults = append(faults, checkExt(m.Ext)...)
	}
	if size := len(m.Msg) + len(m.Ext); maxMessage > 0 && size > maxMessage {
		faults = append(faults, fault("msg", "takes %d bytes together with ext, the limit is %d", size, maxMessage)...)
	}
	return append(faults, checkFields("", m.Extra, extras)...)
}

func checkMsg(msg json.RawMessage) []FieldError {
	if len(msg) == 0 {
		return fault("msg", "is required")
	}
	if !utf8.Valid(msg) {
		return fault("msg", "must be UTF-8")
	}
	fields, err := members(msg)
	if err != nil {
		return fault("msg", "%v", err)
	}
	at := slices.IndexFunc(fields, func(f Field) bool { return f.Name == "type" })
	if at < 0 {
		return fault("msg.type", "is required")
	}
	kind, _ := stringOf(fields[at].Value)
	rules, known := messageTypes[kind]
	if !known {
		return fault("msg.type", "must be txt, img, audio, video, loc, cmd, custom or file")
	}
	return checkFields("msg.", fields, append([]rule{required("type", text)}, rules...))
}

func checkExt(ext json.RawMessage) []FieldError {
	if string(ext) == "null" {
		return fault("ext", "must not be null: leave it out") // vendor page, ext
	}
	if !utf8.Valid(ext) {
		return fault("ext", "must be UTF-8")
	}
	if _, err := members(ext); err != nil {
		return fault("ext", "%v", err)
	}
	return nil
}

// checkFields holds fields against rules. Unknown and repeated names are
// faults: the vendor ignores the one and takes either of the other in silence.
func checkFields(prefix string, fields []Field, rules []rule) []FieldError {
	var faults []FieldError
	seen := make(map[string]bool, len(fields))
	for _, f := range fields {
		at := slices.IndexFunc(rules, func(r rule) bool { return r.name == f.Name })
		switch {
		case at < 0:
			faults = append(faults, fault(prefix+f.Name, "is not a field that is known here")...)
		case seen[f.Name]:
			faults = append(faults, fault(prefix+f.Name, "is given twice")...)
		default:
			faults = append(faults, rules[at].check(prefix+f.Name, f.Value)...)
		}
		seen[f.Name] = true
	}
	for _, r := range rules {
		if r.required && !seen[r.name] {
			faults = append(faults, fault(prefix+r.name, "is required")...)
		}
	}
	return faults
}

func fault(field, problem string, args ...any) []FieldError {
	return []FieldError{{Field: field, Problem: fmt.Sprintf(problem, args...)}}
}

// stringOf returns the value of a JSON string.
func stringOf(value json.RawMessage) (string, bool) {
	var s *string
	if json.Unmarshal(value, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

func text(path string, value json.RawMessage) []FieldError {
	if _, ok := stringOf(value); !ok {
		return fault(path, "must be a string")
	}
	return nil
}

func filled(path string, value json.RawMessage) []FieldError {
	if s, ok := stringOf(value); ok && s == "" {
		return fault(path, "must not be empty")
	}
	return text(path, value)
}

func amount(path string, value json.RawMessage) []FieldError {
	var n *float64
	if json.Unmarshal(value, &n) != nil || n == nil || *n < 0 {
		return fault(path, "must be a number, 0 or more")
	}
	return nil
}

func boolean(path string, value json.RawMessage) []FieldError {
	if s := string(value); s != "true" && s != "false" {
		return fault(path, "must be true or false")
	}
	return nil
}

func anything(path string, value json.RawMessage) []FieldError {
	if string(value) == "null" {
		return fault(path, "must not be null")
	}
	return nil
}

func event(path string, value json.RawMessage) []FieldError {
	if s, ok := stringOf(value); ok && !customEvent.MatchString(s) {
		return fault(path, "must be 1 to 32 of a-z A-Z 0-9 - _ / . and space")
	}
	return text(path, value)
}

func oneOf(words ...string) check {
	return func(path string, value json.RawMessage) []FieldError {
		if s, ok := stringOf(value); !ok || !slices.Contains(words, s) {
			return fault(path, "must be %s", strings.Join(words, " or "))
		}
		return nil
	}
}

func object(rules ...rule) check {
	return func(path string, value json.RawMessage) []FieldError {
		fields, err := members(value)
		if err != nil {
			return fault(path, "%v", err)
		}
		return checkFields(path+".", fields, rules)
	}
}

func textMap(path string, value json.RawMessage) []FieldError {
	fields, err := members(value)
	if err != nil {
		return fault(path, "%v", err)
	}
	if len(fields) > maxCustomExts {
		return fault(path, "holds %d elements, the limit is %d", len(fields), maxCustomExts)
	}
	rules := make([]rule, len(fields))
	for i, f := range fields {
		rules[i] = optional(f.Name, text)
	}
	return checkFields(path+".", fields, rules)
}

func userNames(path string, value json.RawMessage) []FieldError {
	var names []*string
	if json.Unmarshal(value, &names) != nil || names == nil || slices.Contains(names, nil) {
		return fault(path, "must be an array of strings")
	}
	if len(names) > maxRoamIgnored {
		return fault(path, "holds %d names, the limit is %d", len(names), maxRoamIgnored)
	}
	return nil
}
