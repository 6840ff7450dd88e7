package chatsim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The request samples of the vendor page, one per message type. It has none
// for file messages.
var vendorSamples = map[string]string{
	"txt":    `{"target_type": "users", "target": ["user2", "user3"], "msg": {"type": "txt", "msg": "testmessage"}, "from": "user1"}`,
	"img":    `{"target_type":"users","target":["user2"],"from":"user1","msg":{"type":"img","filename":"testimg.jpg","secret":"VfEpSmSvEeS7yU8dwa9rAQc-DIL2HhmpujTNfSTsrDt6eNb_","url":"https://a1.easecdn.com/chat-demo/testapp/chatfiles/55f12940-64af-11e4-8a5b-ff2336f03252","size":{"width":480,"height":720}}}`,
	"audio":  `{"target_type" : "users","target" : ["user2", "user3"],"msg" : {"type": "audio","url": "https://a1.easecdn.com/chat-demo/testapp/chatfiles/1dfc7f50-55c6-11e4-8a07-7d75b8fb3d42","filename": "testaudio.amr","length": 10,"secret": "Hfx_WlXGEeSdDW-SuX2EaZcXDC7ZEig3OgKZye9IzKOwoCjM"},"from" : "user1" }`,
	"video":  `{"target_type":"users","target":["user2","user3"],"from":"user1","msg":{"type":"video","filename" : "testvideo.mp4","thumb" : "https://a1.easecdn.com/chat-demo/testapp/chatfiles/67279b20-7f69-11e4-8eee-21d3334b3a97","length" : 0,"secret":"VfEpSmSvEeS7yU8dwa9rAQc-DIL2HhmpujTNfSTsrDt6eNb_","file_length" : 58103,"thumb_secret" : "ZyebKn9pEeSSfY03ROk7ND24zUf74s7HpPN1oMV-1JxN2O2I","url" : "https://a1.easecdn.com/chat-demo/testapp/chatfiles/671dfe30-7f69-11e4-ba67-8fef0d502f46"}}`,
	"loc":    `{"target_type": "users","target": ["user2"],"msg": {"type": "loc","lat": "39.966","lng":"116.322","addr":"中国北京市海淀区中关村"},"from": "user1"}`,
	"cmd":    `{"target_type":"users","target":["user2","user3"],"msg":{"type":"cmd","action":"action1"},"from":"user1"}`,
	"custom": `{ "target_type":"users", "target":["user2"], "msg":{"type":"custom", "customEvent":"gift_1", "customExts":{"name":"flower","size":"16","price":"100"}}, "from":"user1","ext":{"attr1":"test"}}`,
	"file":   `{"target_type":"users","target":["user2"],"msg":{"type":"file","url":"https://a1.easecdn.com/chat-demo/testapp/chatfiles/1","filename":"a.txt","secret":"s"},"from":"user1"}`,
	"ext":    `{"target_type":"users","target":["user2","user3"],"msg":{"type":"txt","msg":"testmessage"},"from":"user1","ext":{"attr1":"test"}}`,
}

func TestVendorSamplesAreAccepted(t *testing.T) {
	for name, body := range vendorSamples {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, nil)
			if got := s.call(t, unifiedPath, body); got.Status != http.StatusOK || got.Data["user2"] != "success" {
				t.Errorf("got %d %s", got.Status, got.Text)
			}
			if s.Delivered(Users, "user2") != 1 {
				t.Error("user2 is not in the journal")
			}
		})
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, tt := range []struct{ name, body, description string }{
		// The page's location sample as it is printed there.
		{"vendor's broken location", `{"target_type": "users","target": ["user2"],"msg": {"type": "loc","lat": "39.966","lng":"116.322",."addr":"中国北京市海淀区中关村"},"from": "user1"}`, "Unexpected character ('.' (code 46))"},
		{"trailing comma", `{"target_type":"users",}`, "Unexpected character (',' (code 44))"},
		{"second line", "{\"target_type\":\"users\",\n x}", "line: 2, column: 2]"},
		{"empty", ``, "Unexpected end-of-input"},
		{"cut off", `{"target_type":"users","target":["u1"`, "Unexpected end-of-input"},
		{"array", `["u1"]`, "the body must be an object"},
		{"more after the object", hello + hello, "there is more after the object"},
		{"repeated name", `{"from":"a","from":"b"}`, "duplicate"},
		{"single quotes", `{'from':'a'}`, "Unexpected character (''' (code 39))"},
		{"bare word", `{"from":admin}`, "Unexpected character ('a' (code 97))"},
		{"invalid UTF-8", "{\"from\":\"\xff\"}", "UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := newSim(t, nil).call(t, unifiedPath, tt.body)
			if got.Status != http.StatusBadRequest || got.Error != "json_parse" || got.Exception != "org.codehaus.jackson.JsonParseException" ||
				!strings.Contains(got.Description, tt.description) || !strings.Contains(got.Description, "\n at [Source: ") {
				t.Errorf("got %d %s", got.Status, got.Text)
			}
		})
	}
}

func TestUnifiedFields(t *testing.T) {
	good := map[string]string{"target_type": `"users"`, "target": `["u1"]`, "msg": `{"type":"txt","msg":"x"}`}
	for _, tt := range []struct {
		field, value string // no value: the field is left out
		refused      string // part of the description; empty: accepted
	}{
		{"target_type", ``, "target_type must be provided"},
		{"target_type", `null`, "target_type must be provided"},
		{"target_type", `"groups"`, "target_type"},
		{"target_type", `"chatrooms"`, ""},
		{"target", ``, "target"},
		{"target", `"u1"`, "target"},
		{"target", `[]`, "target"},
		{"target", `["u1",""]`, "target"},
		{"target", `["u1",2]`, "target"},
		{"target", `[["u1"]]`, "target"},
		{"target", `null`, "target"},
		{"msg", ``, "msg"},
		{"msg", `"hello"`, "msg"},
		{"msg", `"{\"type\":\"txt\",\"msg\":\"x\"}"`, "msg"}, // encoded twice
		{"msg", `{"msg":"x"}`, "type"},
		{"msg", `{"type":1,"msg":"x"}`, "type"},
		{"msg", `{"type":"text","msg":"x"}`, "unknown message type text"},
		{"from", `""`, "from"},
		{"from", `null`, "from"},
		{"from", `7`, "from"},
		{"from", `"admin"`, ""},
		{"ext", `null`, "ext"},
		{"ext", `"{\"a\":1}"`, "ext"},
		{"ext", `[]`, "ext"},
		{"ext", `{"em_apns_ext":{"em_push_content":"hi"},"em_ignore_notification":true}`, ""},
		{"sync_device", `true`, ""},
		{"sync_device", `"true"`, "sync_device"},
		{"need_group_ack", `false`, ""},
		{"need_group_ack", `0`, "need_group_ack"},
		{"routetype", `"ROUTE_ONLINE"`, ""},
		{"routetype", `"ROUTE_ALL"`, "routetype"},
		{"chatroom_msg_level", `"high"`, ""},
		{"chatroom_msg_level", `"urgent"`, "chatroom_msg_level"},
		{"roam_ignore_users", `["u3"]`, ""},
		{"roam_ignore_users", `"u3"`, "roam_ignore_users"},
		{"to", `["u1"]`, "unknown field to"},
		{"type", `"txt"`, "unknown field type"},
		{"options", `{}`, "unknown field options"},
		{"From", `"admin"`, "unknown field From"},
	} {
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			got := newSim(t, nil).call(t, unifiedPath, object(good, tt.field, tt.value))
			checkVerdict(t, got, tt.refused, "illegal_argument")
		})
	}
}

func TestSplitFields(t *testing.T) {
	good := map[string]string{"to": `["u1"]`, "type": `"txt"`, "body": `{"msg":"x"}`}
	for _, tt := range []struct{ field, value, refused string }{
		{"from", `"admin"`, ""},
		{"from", `""`, "param from can't be empty"},
		{"ext", `null`, "param ext must be JSONObject"},
		{"to", `[]`, "param to can't be empty"},
		{"type", ``, "param type can't be empty"},
		{"type", `"text"`, "unknown message type text"},
		{"body", ``, "param body"},
		{"body", `{}`, "txt message: msg must be provided"},
		{"body", `{"type":"txt","msg":"x"}`, "param body must not have a type"},
		{"sync_device", `true`, ""},
	} {
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			got := newSim(t, nil).call(t, unifiedPath+"/users", object(good, tt.field, tt.value))
			checkVerdict(t, got, tt.refused, "message_send_error")
		})
	}
	for _, field := range []string{"target", "target_type", "msg", "weight"} {
		t.Run("unknown "+field, func(t *testing.T) {
			got := newSim(t, nil).call(t, unifiedPath+"/users", object(good, field, `"users"`))
			checkVerdict(t, got, "unknown field "+field, "illegal_argument")
		})
	}
}

func TestMessageTypes(t *testing.T) {
	exts := func(n int) string {
		pairs := make([]string, n)
		for i := range pairs {
			pairs[i] = fmt.Sprintf(`"k%d":"v"`, i)
		}
		return `{` + strings.Join(pairs, ",") + `}`
	}
	url := map[string]string{"url": `"https://a1.easecdn.com/f/1"`}
	for _, tt := range []struct {
		kind         string
		good         map[string]string
		field, value string
		refused      string
	}{
		{"txt", map[string]string{"msg": `"x"`}, "msg", ``, "msg must be provided"},
		{"txt", map[string]string{"msg": `"x"`}, "msg", `5`, "msg must be"},
		{"txt", map[string]string{"msg": `"x"`}, "msg", `""`, "msg must be"},
		{"img", url, "url", ``, "url must be provided"},
		{"img", url, "size", `{"width":480,"height":720}`, ""},
		{"img", url, "size", `{"width":"480","height":"720"}`, "size must be"},
		{"img", url, "size", `{"width":480}`, "size must be"},
		{"img", url, "size", `"480x720"`, "size must be"},
		{"img", url, "filename", `null`, "filename must be"},
		{"audio", url, "url", `""`, "url must be"},
		{"audio", url, "length", `10`, ""},
		{"audio", url, "length", `"10"`, "length must be"},
		{"audio", url, "length", `-1`, "length must be"},
		{"audio", url, "secret", `7`, "secret must be"},
		{"video", url, "url", ``, "url must be provided"},
		{"video", url, "file_length", `"58103"`, "file_length must be"},
		{"video", url, "thumb", `{}`, "thumb must be"},
		{"video", url, "thumb_secret", `1`, "thumb_secret must be"},
		{"file", url, "url", ``, "url must be provided"},
		{"file", url, "filename", `"a.txt"`, ""},
		{"loc", map[string]string{"lat": `"1"`, "lng": `"2"`, "addr": `"a"`}, "lat", `1`, "lat must be"},
		{"loc", map[string]string{"lat": `"1"`, "lng": `"2"`, "addr": `"a"`}, "lng", `2.5`, "lng must be"},
		{"loc", map[string]string{"lat": `"1"`, "lng": `"2"`, "addr": `"a"`}, "addr", ``, "addr must be provided"},
		{"cmd", map[string]string{"action": `"go"`}, "action", ``, "action must be provided"},
		{"cmd", map[string]string{"action": `"go"`}, "param", `{"a":[1]}`, ""},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customEvent", ``, "customEvent must be provided"},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customEvent", `"a-Z0_9/. -"`, ""},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customEvent", `"gift!"`, "customEvent must be"},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customEvent", `"gift\n"`, "customEvent must be"},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customEvent", `"` + strings.Repeat("e", 32) + `"`, ""},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customEvent", `"` + strings.Repeat("e", 33) + `"`, "customEvent must be"},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customExts", exts(16), ""},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customExts", exts(17), "customExts must be"},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customExts", `{"price":100}`, "customExts must be"},
		{"custom", map[string]string{"customEvent": `"gift_1"`}, "customExts", `[{"a":"b"}]`, "customExts must be"},
	} {
		t.Run(tt.kind+" "+tt.field+" "+tt.value, func(t *testing.T) {
			s := newSim(t, nil)
			content := object(tt.good, tt.field, tt.value)
			unified := `{"target_type":"users","target":["u1"],"msg":{"type":"` + tt.kind + `",` + content[1:] + `}`
			if content == "{}" {
				unified = `{"target_type":"users","target":["u1"],"msg":{"type":"` + tt.kind + `"}}`
			}
			checkVerdict(t, s.call(t, unifiedPath, unified), tt.refused, "illegal_argument")
			split := `{"to":["1"],"type":"` + tt.kind + `","body":` + content + `}`
			checkVerdict(t, s.call(t, unifiedPath+"/chatgroups", split), tt.refused, "message_send_error")
		})
	}
}

// object writes a JSON object of good with one field changed, added or, with
// an empty value, left out.
func object(good map[string]string, field, value string) string {
	parts := []string{}
	for name, v := range good {
		if name != field {
			parts = append(parts, `"`+name+`":`+v)
		}
	}
	if value != "" {
		parts = append(parts, `"`+field+`":`+value)
	}
	return `{` + strings.Join(parts, ",") + `}`
}

func checkVerdict(t *testing.T, got reply, refused, name string) {
	t.Helper()
	switch {
	case refused == "" && got.Status != http.StatusOK:
		t.Errorf("want it accepted, got %d %s", got.Status, got.Text)
	case refused != "" && (got.Status != http.StatusBadRequest || got.Error != name || !strings.Contains(got.Description, refused)):
		t.Errorf("want 400 %s with %q, got %d %s", name, refused, got.Status, got.Text)
	}
}

func TestMessagesAreKept(t *testing.T) {
	s := newSim(t, nil)
	first := `{"target_type":"users","target":["u1","u2"],"msg":{"type":"txt","msg":"a"},"ext":{"k":"v"},"from":"x"}`
	last := `{"target_type":"users","target":["u3"],"msg":{"type":"txt","msg":"a"},"ext":{"k":"v"},"from":"x"}`
	s.call(t, unifiedPath, first)
	s.call(t, unifiedPath, last)
	s.call(t, unifiedPath, message(Users, "u1"))
	s.call(t, unifiedPath, `{"target_type":"users","target":["u1"],"msg":{"type":"txt"}}`) // refused
	got := s.Messages()
	if len(got) != 2 {
		t.Fatalf("%d messages, want 2", len(got))
	}
	want := Message{
		TargetType: Users, Type: "txt", From: "x", Calls: 2, Targets: 3,
		Msg: []byte(`{"type":"txt","msg":"a"}`), Ext: []byte(`{"k":"v"}`), LastBody: []byte(last),
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
	for i := range 2 * maxMessages {
		s.call(t, unifiedPath, fmt.Sprintf(`{"target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"%d"}}`, i))
	}
	if n := len(s.Messages()); n != maxMessages {
		t.Errorf("%d messages are kept, want %d", n, maxMessages)
	}
}
