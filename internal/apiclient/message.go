package apiclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Form is one of the two shapes in which the Chat API takes messages.
type Form string

// The forms (CHAT-API: "Sending").
const (
	// FormUnified posts to .../messages with target_type, target and msg.
	FormUnified Form = "unified"
	// FormSplit posts to .../messages/users and so on with to, type and body.
	FormSplit Form = "split"
)

// Valid reports whether f is one of the two forms.
func (f Form) Valid() bool { return f == FormUnified || f == FormSplit }

// TargetType says what the targets of a message are.
type TargetType string

// The target types, written as the Chat API writes them.
const (
	Users      TargetType = "users"
	ChatGroups TargetType = "chatgroups"
	ChatRooms  TargetType = "chatrooms"
)

// TargetTypes lists all target types.
func TargetTypes() []TargetType { return []TargetType{Users, ChatGroups, ChatRooms} }

// Valid reports whether t is one of TargetTypes.
func (t TargetType) Valid() bool { return slices.Contains(TargetTypes(), t) }

// Message is everything of a send request but its targets. Its JSON values are
// compact, with UTF-8 as it is.
type Message struct {
	TargetType TargetType
	// From is the sender's user name; "" leaves it out, and the vendor then
	// sends as "admin".
	From string
	// Msg is the msg object of the unified form, "type" included.
	Msg json.RawMessage
	// Ext is the extension object; nil leaves it out.
	Ext json.RawMessage
	// Extra are vendor fields that are passed on, in the order of ExtraFields.
	Extra []Field
}

// Field is one member of a JSON object, in the place where it was written.
type Field struct {
	Name  string
	Value json.RawMessage
}

// ExtraFields lists the vendor fields that Message.Extra may hold, in the
// order in which they are written.
func ExtraFields() []string {
	return []string{"sync_device", "routetype", "chatroom_msg_level", "need_group_ack", "roam_ignore_users"}
}

// FieldError is a fault of one field, named as it is written in the document
// ("msg.url", "msg.customExts.k", "ext") or, of a Config, as the Go field.
type FieldError struct{ Field, Problem string }

func (e FieldError) Error() string { return e.Field + ": " + e.Problem }

// members returns the members of a JSON object in the order in which they are
// written, repeated names included. Its errors are Problems of a FieldError.
func members(raw json.RawMessage) ([]Field, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("invalid JSON at byte %d: %w", syntax.Offset, err)
		}
		return nil, errNoObject
	}
	if object == nil {
		return nil, errNoObject
	}
	fields := make([]Field, 0, len(object))
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var field Field
		field.Name, _ = name.(string)
		if err := dec.Decode(&field.Value); err != nil {
			return nil, err
		}
		fields = append(fields, field)
	}
	return fields, nil
}

var errNoObject = errors.New("must be a JSON object")
