package tasks

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/apiclient"
)

func TestParseDocument(t *testing.T) {
	d, err := ParseDocument([]byte(`{"id": "spring-sale", "target_type": "users", "target": ["u1", "u2"],
		"msg": {"type": "txt", "msg": "h\u00e9llo <b>"}, "from": "admin", "ext": {"k": "v", "n": 9007199254740993},
		"sync_device": true, "routetype": "ROUTE_ONLINE",
		"options": {"name": "Spring sale", "priority": "urgent", "weight": 3, "max_rate": 100,
			"send_at": "2026-12-01T10:00:00+01:00", "expires_at": "2026-12-01T21:00:00Z", "on_unknown": "hold"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Document{
		ID: "spring-sale", Targets: &TargetArray{field: "target", raw: []byte(`["u1","u2"]`)},
		Message: apiclient.Message{
			TargetType: apiclient.Users, From: "admin",
			Msg: []byte(`{"type":"txt","msg":"héllo <b>"}`), // compact, UTF-8 as it is
			Ext: []byte(`{"k":"v","n":9007199254740993}`),   // numbers as written
			Extra: []apiclient.Field{
				{Name: "sync_device", Value: []byte("true")}, {Name: "routetype", Value: []byte(`"ROUTE_ONLINE"`)},
			},
		},
		Options: Options{
			Name: "Spring sale", Urgent: true, Weight: 3, MaxRate: 100, HoldLost: true,
			SendAt:    time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC),
			ExpiresAt: time.Date(2026, 12, 1, 21, 0, 0, 0, time.UTC),
		},
	}
	if diff := cmp.Diff(want, d, cmp.AllowUnexported(Document{}, TargetArray{}, packed{})); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

// fieldsOf returns the names of the faulty fields.
func fieldsOf(err error) (fields []string) {
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		for _, f := range invalid.Faults {
			fields = append(fields, f.Field)
		}
	}
	return fields
}

func TestParseDocumentFaults(t *testing.T) {
	const good = `"target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"x"}`
	tests := []struct {
		name, text string
		want       []string
	}{
		{"empty object", `{}`, []string{"target_type", "msg"}},
		{"no object", `["u1"]`, []string{"document"}},
		{"unknown field", `{` + good + `,"targets":[]}`, []string{"targets"}},
		{"repeated field", `{` + good + `,"msg":{}}`, []string{"msg"}},
		{"repeated field inside", `{"target_type":"users","msg":{"type":"txt","msg":"x","msg":"y"}}`, []string{"msg.msg"}},
		{"id", `{"id":"-x",` + good + `}`, []string{"id"}},
		{"id no string", `{"id":7,` + good + `}`, []string{"id"}},
		{"id too long", `{"id":"` + strings.Repeat("x", 129) + `",` + good + `}`, []string{"id"}},
		{"target no array", `{"target_type":"users","target":"u1","msg":{"type":"txt","msg":"x"}}`, []string{"target"}},
		{"empty from", `{"from":"",` + good + `}`, []string{"from"}},
		{"null ext", `{"ext":null,` + good + `}`, []string{"ext"}},
		{"wrong extra", `{"sync_device":1,` + good + `}`, []string{"sync_device"}},
		{"message", `{"target_type":"users","msg":{"type":"img"}}`, []string{"msg.url"}},
		{"options no object", `{"options":[],` + good + `}`, []string{"options"}},
		{
			"all options", `{"options":{"name":1,"priority":"high","weight":0,"max_rate":-1,"send_at":"soon","on_unknown":"ask","speed":1},` + good + `}`,
			[]string{"options.name", "options.priority", "options.weight", "options.max_rate", "options.send_at", "options.on_unknown", "options.speed"},
		},
		{"long name", `{"options":{"name":"` + strings.Repeat("é", 201) + `"},` + good + `}`, []string{"options.name"}},
		{
			"names, too", `{"target":["U1","b c",7],"target_type":"users","msg":{"type":"img"}}`,
			[]string{"msg.url", "target[1]", "target[2]"},
		},
		{"names of no kind", `{"target":["b c"],"target_type":"people","msg":{"type":"txt","msg":"x"}}`, []string{"target_type"}},
		{"fraction", `{"options":{"weight":1.5},` + good + `}`, []string{"options.weight"}},
		{
			"ends before it begins", `{"options":{"send_at":"2026-12-01T09:00:00Z","expires_at":"2026-12-01T09:00:00Z"},` + good + `}`,
			[]string{"options.expires_at"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseDocument([]byte(tt.text))
			if diff := cmp.Diff(tt.want, fieldsOf(err)); diff != "" {
				t.Errorf("faulty fields (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

func TestParseDocumentSyntax(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", "invalid JSON at line 1, column 1: the text ends before the document does"},
		{"cut off", `{"id": "x`, "invalid JSON at line 1, column 10: the text ends before"},
		{"broken member", "{\n\"msg\": {\"lng\":\"1\",.\"addr\":\"x\"}}", "invalid JSON at line 2, column "},
		{"trailing data", `{} x`, "invalid JSON at line 1, column "},
		{"second document", "{\"target_type\":\"users\"}\n{}", "invalid JSON at line 2, column 1: something follows"},
		{"not utf-8", "{\"id\":\"\xff\"}", "invalid JSON at line 1, column "},
		{"lone surrogate", `{"msg":{"type":"txt","msg":"\ud800"}}`, "invalid JSON at line 1, column "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseDocument([]byte(tt.text))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCanonicalIsTheSameForTheSameContent(t *testing.T) {
	canonical := func(text string) string {
		d, err := ParseDocument([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c, err := d.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		return string(c)
	}
	one := canonical(`{"id":"a","target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"h\u00e9"},"ext":{"b":1,"a":2}}`)
	same := canonical("\ufeff" + ` {"ext": {"a":2, "b":1}, "options": {"priority":"bulk","weight":1,"max_rate":0,"on_unknown":"resend","name":""},
		"msg":{"msg":"hé","type":"txt"},"target_type":"users"}`)
	if one != same {
		t.Errorf("equal content differs:\n%s\n%s", one, same)
	}
	for _, other := range []string{
		`{"target_type":"chatrooms","msg":{"type":"txt","msg":"hé"},"ext":{"b":1,"a":2}}`,
		`{"target_type":"users","msg":{"type":"txt","msg":"he"},"ext":{"b":1,"a":2}}`,
		`{"target_type":"users","msg":{"type":"txt","msg":"hé"},"ext":{"b":1,"a":3}}`,
		`{"target_type":"users","msg":{"type":"txt","msg":"hé"},"ext":{"b":1,"a":2},"from":"x"}`,
		`{"target_type":"users","msg":{"type":"txt","msg":"hé"},"ext":{"b":1,"a":2},"sync_device":true}`,
		`{"target_type":"users","msg":{"type":"txt","msg":"hé"},"ext":{"b":1,"a":2},"options":{"priority":"urgent"}}`,
		`{"target_type":"users","msg":{"type":"txt","msg":"hé"},"ext":{"b":1,"a":2},"options":{"send_at":"2026-12-01T09:00:00Z"}}`,
	} {
		if canonical(other) == one {
			t.Errorf("other content is the same: %s", other)
		}
	}
	// What is stored can be read again, to the same document.
	if again := canonical(one); again != one {
		t.Errorf("canonical form changes:\n%s\n%s", one, again)
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"id":"a","target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"hé"},"options":{"weight":3}}`))
	f.Add([]byte(`{"target_type":"users","msg":{"type":"loc","lat":"1","lng":"2",."addr":"x"}}`))
	f.Add([]byte("\ufeff{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseDocument(text)
		if err != nil {
			return
		}
		c, err := d.Canonical()
		if err != nil {
			t.Fatalf("a good document has no canonical form: %v", err)
		}
		again, err := ParseDocument(c)
		if err != nil {
			t.Fatalf("the canonical form is no document: %v\n%s", err, c)
		}
		if c2, _ := again.Canonical(); string(c) != string(c2) {
			t.Fatalf("the canonical form is not stable:\n%s\n%s", c, c2)
		}
	})
}
