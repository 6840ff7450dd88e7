package chatsim

import (
	"regexp"

	"github.com/go-json-experiment/json/jsontext"
)

// rule is what a JSON value must be.
type rule struct {
	must  string
	holds func(jsontext.Value) bool
}

// fieldRule is one field of a message type. Fields without a rule are let
// through: the vendor does not say that it refuses them.
type fieldRule struct {
	field    string
	required bool
	rule     *rule
}

// maxCustomExts is the number of elements of customExts (vendor page).
const maxCustomExts = 16

// customEvent is the expression of the vendor page, for the whole value.
var customEvent = regexp.MustCompile(`^[a-zA-Z0-9\-_/. ]{1,32}$`)

var (
	anyString = &rule{"a string", func(v jsontext.Value) bool {
		return v.Kind() == jsontext.KindString
	}}
	someString = &rule{"a string with at least one character", func(v jsontext.Value) bool {
		s, ok := stringOf(v)
		return ok && s != ""
	}}
	notNegative = &rule{"a number that is not negative", func(v jsontext.Value) bool {
		return v.Kind() == jsontext.KindNumber && v[0] != '-'
	}}
	trueOrFalse = &rule{"true or false", func(v jsontext.Value) bool {
		return v.Kind() == jsontext.KindTrue || v.Kind() == jsontext.KindFalse
	}}
	stringList = &rule{"an array of strings", func(v jsontext.Value) bool {
		_, ok := decodeStrings(v, nil)
		return ok
	}}
	pictureSize = &rule{"an object with width and height as numbers", func(v jsontext.Value) bool {
		size, ok := objectOf(v)
		return ok && notNegative.holds(size["width"]) && notNegative.holds(size["height"])
	}}
	eventName = &rule{"a string of 1 to 32 of a-z A-Z 0-9 - _ / . and blank", func(v jsontext.Value) bool {
		s, ok := stringOf(v)
		return ok && customEvent.MatchString(s)
	}}
	eventAttributes = &rule{"a map of string to string with at most 16 elements", func(v jsontext.Value) bool {
		exts, ok := objectOf(v)
		for _, value := range exts {
			ok = ok && anyString.holds(value)
		}
		return ok && len(exts) <= maxCustomExts
	}}
)

// messageRules is the table "Message types" of CHAT-API, which is the vendor
// page's. cmd's param may be anything.
var messageRules = map[string][]fieldRule{
	"txt": {{"msg", true, someString}},
	"img": {{"url", true, someString}, {"filename", false, anyString}, {"secret", false, anyString}, {"size", false, pictureSize}},
	"audio": {
		{"url", true, someString},
		{"filename", false, anyString},
		{"secret", false, anyString},
		{"length", false, notNegative},
	},
	"video": {
		{"url", true, someString},
		{"filename", false, anyString},
		{"secret", false, anyString},
		{"length", false, notNegative},
		{"file_length", false, notNegative},
		{"thumb", false, anyString},
		{"thumb_secret", false, anyString},
	},
	"file":   {{"url", true, someString}, {"filename", false, anyString}, {"secret", false, anyString}},
	"loc":    {{"lat", true, someString}, {"lng", true, someString}, {"addr", true, someString}},
	"cmd":    {{"action", true, someString}},
	"custom": {{"customEvent", true, eventName}, {"customExts", false, eventAttributes}},
}

// passedOn are the fields beside the message that CHAT-API knows, in both
// forms.
var passedOn = map[string]*rule{
	"sync_device":        trueOrFalse,
	"need_group_ack":     trueOrFalse,
	"roam_ignore_users":  stringList,
	"routetype":          oneOf("ROUTE_ONLINE"),
	"chatroom_msg_level": oneOf("high", "normal", "low"),
}

func oneOf(values ...string) *rule {
	return &rule{"one of the documented values", func(v jsontext.Value) bool {
		s, ok := stringOf(v)
		for _, value := range values {
			if ok && s == value {
				return true
			}
		}
		return false
	}}
}

// objectOf reads a JSON object; ok is false for anything else.
func objectOf(value jsontext.Value) (fields map[string]jsontext.Value, ok bool) {
	if value.Kind() != jsontext.KindBeginObject {
		return nil, false
	}
	fields, refused := decodeObject(value)
	return fields, refused == nil
}
