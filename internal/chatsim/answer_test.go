package chatsim

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSuccessHasTheVendorsShape(t *testing.T) {
	s := newSim(t, nil)
	got := s.call(t, unifiedPath, hello)
	want := regexp.MustCompile(`^\{"action":"post","application":"[0-9a-f-]{36}","path":"/messages",` +
		`"uri":"http://example.com/chat-demo/testapp/messages","data":\{"u[12]":"success","u[12]":"success"\},` +
		`"timestamp":\d{13},"duration":\d+,"organization":"chat-demo","applicationName":"testapp"\}$`)
	if got.Status != http.StatusOK || !want.MatchString(got.Text) {
		t.Errorf("got %d %s", got.Status, got.Text)
	}
	if diff := cmp.Diff(map[string]string{"u1": "success", "u2": "success"}, got.Data); diff != "" {
		t.Error(diff)
	}
	if s.Delivered(Users, "u1") != 1 || s.Delivered(Users, "u2") != 1 || s.Delivered(Groups, "u1") != 0 {
		t.Error("the journal does not have exactly u1 and u2 as users")
	}
}

func TestMessageIDs(t *testing.T) {
	body := `{"from":"a","to":["1001","1002"],"type":"txt","body":{"msg":"hi"}}`
	for _, path := range []string{"/messages/users", "/messages/chatgroups", "/messages/chatrooms"} {
		t.Run(path, func(t *testing.T) {
			got := newSim(t, nil).call(t, "/chat-demo/testapp"+path, body)
			checkIDs(t, got, 2)
			if !strings.Contains(got.Text, `"path":"`+path+`"`) {
				t.Errorf("path is missing in %s", got.Text)
			}
		})
	}
	t.Run("unified with useMsgId", func(t *testing.T) {
		s := newSim(t, nil)
		checkIDs(t, s.call(t, unifiedPath+"?useMsgId=true", hello), 2)
		if got := s.call(t, unifiedPath+"?useMsgId=false", hello); got.Data["u1"] != "success" {
			t.Errorf("useMsgId=false answered %v", got.Data)
		}
	})
	t.Run("grow from 18 to 19 digits and never repeat", func(t *testing.T) {
		s := newSim(t, func(c *Config) { c.MaxBody = 1 << 20 })
		lengths, seen := map[int]bool{}, map[string]bool{}
		for range 20 {
			for _, id := range s.call(t, unifiedPath+"?useMsgId=true", message(Users, manyNames("u", 600)...)).Data {
				lengths[len(id)] = true
				seen[id] = true
			}
		}
		if diff := cmp.Diff(map[int]bool{18: true, 19: true}, lengths); diff != "" || len(seen) != 20*600 {
			t.Errorf("%d different ids of lengths %v", len(seen), lengths)
		}
	})
}

func checkIDs(t *testing.T, got reply, n int) {
	t.Helper()
	if got.Status != http.StatusOK || len(got.Data) != n {
		t.Fatalf("got %d %s", got.Status, got.Text)
	}
	for name, id := range got.Data {
		if number, err := strconv.ParseInt(id, 10, 64); err != nil || number < 1<<53 || len(id) < 18 || len(id) > 19 {
			t.Errorf("%s has the id %q", name, id)
		}
	}
}

func TestRefusals(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	method := func(name string) func(*http.Request) { return func(r *http.Request) { r.Method = name } }
	for _, tt := range []struct {
		name        string
		path        string // empty = the unified form's
		body        string // empty = a good one
		edit        func(*http.Request)
		status      int
		error       string // empty = the body is no JSON
		description string
	}{
		{name: "wrong org", path: "/other/testapp/messages", status: 404, error: "organization_application_not_found", description: "Could not find application for other/testapp from URI: other/testapp/messages"},
		{name: "wrong app", path: "/chat-demo/other/messages/users", status: 404, error: "organization_application_not_found"},
		{name: "wrong org of the token path", path: "/other/testapp/token", status: 404, error: "organization_application_not_found"},
		{name: "unknown path", path: "/chat-demo/testapp/message", status: 404, error: "service_resource_not_found"},
		{name: "trailing slash", path: unifiedPath + "/", status: 404, error: "service_resource_not_found"},
		{name: "unknown target type in the path", path: unifiedPath + "/groups", status: 404, error: "service_resource_not_found"},
		{name: "short path", path: "/messages", status: 404, error: "service_resource_not_found"},
		{name: "GET", edit: method("GET"), status: 405, error: "method_not_allowed"},
		{name: "PUT", edit: method("PUT"), status: 405, error: "method_not_allowed"},
		{name: "form content", edit: header("Content-Type", "application/x-www-form-urlencoded"), status: 415, error: "unsupported_media_type"},
		{name: "no content type", edit: header("Content-Type", ""), status: 415, error: "unsupported_media_type"},
		{name: "compressed", edit: header("Content-Encoding", "gzip"), status: 415, error: "unsupported_media_type"},
		{name: "no token", edit: header("Authorization", ""), status: 401, error: "unauthorized", description: "Unable to authenticate (OAuth)"},
		{name: "wrong token", edit: bearer("nonsense"), status: 401, error: "auth_bad_access_token", description: "Unable to authenticate due to corrupt access token"},
		{name: "no bearer", edit: header("Authorization", "demo-token"), status: 401, error: "auth_bad_access_token"},
		{name: "bare bearer", edit: header("Authorization", "Bearer "), status: 401, error: "auth_bad_access_token"},
		{name: "5121 bytes", body: padded(5121), status: 413},
		{name: "message over 4096 bytes", body: `{"target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"` + strings.Repeat("x", 4096) + `"}}`, status: 400, error: "message_send_error", description: "message is too large"},
		{name: "601 users", body: message(Users, shortNames(601)...), status: 400, error: "message_send_error", description: "params to's size can't exceed limit 600"},
		{name: "4 groups", body: message(Groups, "1", "2", "3", "4"), status: 400, error: "message_send_error", description: "params to's size can't exceed limit 3"},
		{name: "11 rooms", path: unifiedPath + "/chatrooms", body: `{"to":["1","2","3","4","5","6","7","8","9","10","11"],"type":"txt","body":{"msg":"x"}}`, status: 400, error: "message_send_error", description: "params to's size can't exceed limit 10"},
		{name: "illegal target", body: message(Users, "u1", "devil", "u2"), status: 400, error: "illegal_argument", description: "illegal target: devil"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, func(c *Config) { c.MaxGroups, c.MaxRooms, c.Poison = 3, 10, []string{"devil"} })
			if tt.path == "" {
				tt.path = unifiedPath
			}
			if tt.body == "" {
				tt.body = hello
			}
			if tt.edit == nil {
				tt.edit = func(*http.Request) {}
			}
			got := s.call(t, tt.path, tt.body, tt.edit)
			if got.Status != tt.status || got.Error != tt.error || !strings.Contains(got.Description, tt.description) {
				t.Errorf("got %d %s", got.Status, got.Text)
			}
			if tt.error == "" && !strings.HasPrefix(got.Text, "<html>") {
				t.Errorf("want a page, got %q", got.Text)
			}
			if key := strings.TrimSpace(strconv.Itoa(tt.status) + " " + tt.error); s.Stats().Refused[key] != 1 {
				t.Errorf("refused: %v, want one %q", s.Stats().Refused, key)
			}
			for key := range s.Journal() {
				t.Errorf("%v is in the journal", key)
			}
		})
	}
}

func TestTooLargeMessageHasTheVendorsCode(t *testing.T) {
	s := newSim(t, func(c *Config) { c.MaxMessage = 40 })
	got := s.call(t, unifiedPath, `{"target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"1234"},"ext":{"a":"12"}}`)
	if got.Status != http.StatusOK { // 27 + 10 bytes
		t.Errorf("37 bytes of message: %d %s", got.Status, got.Text)
	}
	got = s.call(t, unifiedPath, `{"target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"1234"},"ext":{"a":"123456"}}`)
	if got.Status != http.StatusBadRequest || got.Code != 14007 {
		t.Errorf("41 bytes of message: %d %s", got.Status, got.Text)
	}
}

func TestLargestBodyIsAccepted(t *testing.T) {
	s := newSim(t, nil)
	if got := s.call(t, unifiedPath, padded(5120)); got.Status != http.StatusOK {
		t.Errorf("5120 bytes: %d %s", got.Status, got.Text)
	}
	s.call(t, unifiedPath, padded(9000))
	if st := s.Stats(); st.LargestBody != 9000 || st.MostTargets != 1 {
		t.Errorf("largest body %d, most targets %d", st.LargestBody, st.MostTargets)
	}
}

// padded is a good message of n bytes.
func padded(n int) string {
	body := message(Users, "u1")
	return body + strings.Repeat(" ", n-len(body))
}

// shortNames are n different names of at most four bytes.
func shortNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "u" + strconv.Itoa(i)
	}
	return names
}

func TestTargetsWithAFateOfTheirOwn(t *testing.T) {
	s := newSim(t, func(c *Config) { c.Refused, c.Missing = []string{"bad"}, []string{"gone"} })
	got := s.call(t, unifiedPath, message(Users, "good", "bad", "gone"))
	if diff := cmp.Diff(map[string]string{"good": "success", "bad": refusedValue}, got.Data); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]int{"good": 1, "bad": 0, "gone": 1} {
		if n := s.Delivered(Users, name); n != want {
			t.Errorf("%s delivered %d times, want %d", name, n, want)
		}
	}
	if st := s.Stats(); st.AcceptedTargets != 2 || st.RefusedTargets != 1 {
		t.Errorf("accepted %d, refused %d targets", st.AcceptedTargets, st.RefusedTargets)
	}
}

func TestNamesInTheAnswer(t *testing.T) {
	t.Run("repeated names appear once and count each time", func(t *testing.T) {
		s := newSim(t, nil)
		got := s.call(t, unifiedPath, message(Users, "u1", "u1"))
		if strings.Count(got.Text, `"u1"`) != 1 || s.Delivered(Users, "u1") != 2 {
			t.Errorf("%s, delivered %d times", got.Text, s.Delivered(Users, "u1"))
		}
	})
	t.Run("lower case is for users only", func(t *testing.T) {
		s := newSim(t, func(c *Config) { c.LowerCaseNames = true })
		if got := s.call(t, unifiedPath, message(Users, "Anna")); got.Data["anna"] != "success" {
			t.Errorf("got %v", got.Data)
		}
		if got := s.call(t, unifiedPath, message(Groups, "G1")); got.Data["G1"] != "success" {
			t.Errorf("got %v", got.Data)
		}
		if s.Delivered(Users, "Anna") != 1 || s.Delivered(Users, "anna") != 0 {
			t.Error("the journal must keep the name as received")
		}
	})
	t.Run("names are quoted", func(t *testing.T) {
		name := "a\"b\\c\u2028\n"
		if got := newSim(t, nil).call(t, unifiedPath, message(Users, name)); got.Data[name] != "success" {
			t.Errorf("got %s", got.Text)
		}
	})
	t.Run("the order is shuffled, by the seed", func(t *testing.T) {
		order := func(seed int64) string {
			s := newSim(t, func(c *Config) { c.Seed = seed })
			text := s.call(t, unifiedPath, message(Users, shortNames(50)...)).Text
			return text[strings.Index(text, `"data"`):strings.Index(text, `"timestamp"`)]
		}
		first, again := order(1), order(1)
		if first != again {
			t.Error("the same seed gave two orders")
		}
		if first == order(2) || strings.HasPrefix(first, `"data":{"u0":"success","u1":"success","u2":`) {
			t.Error("names are not shuffled")
		}
	})
}
