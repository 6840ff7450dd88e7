package targets

import (
	"strings"
	"testing"
)

func TestNormalize(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, tt := range []struct {
		kind, name, want, problem string
	}{
		{Users, "u1", "u1", ""},
		{Users, "Anna.B-c_D9", "anna.b-c_d9", ""},
		{Users, long, long, ""},
		{Users, long + "a", "", "is 65 bytes long, at most 64"},
		{Users, strings.Repeat("é", 35), "", "is 70 bytes long, at most 64"},
		{Users, "", "", "is empty"},
		{Users, "an na", "", "has a space at byte 3"},
		{Users, "an\tna", "", `has the character "\t" (user names have a-z, 0-9, _, - and .)`},
		{Users, "andré", "", `has the character "é" (user names have a-z, 0-9, _, - and .)`},
		{Users, "a@b.c", "", `has the character "@" (user names have a-z, 0-9, _, - and .)`},
		{Users, "a\xffb", "", "has the byte 0xff, which is no text in UTF-8"},
		{Users, "a\x00b", "", `has the character "\x00" (user names have a-z, 0-9, _, - and .)`},
		{Users, "a\uFFFDb", "", `has the character "` + "\uFFFD" + `" (user names have a-z, 0-9, _, - and .)`},
		{Groups, "184467440737095516159", "184467440737095516159", ""},
		{Groups, "007", "007", ""},
		{Groups, "team9", "team9", ""},
		{Groups, "Team9", "", `has the character "T" (ids have a-z and 0-9)`},
		{Rooms, "66213271109633", "66213271109633", ""},
		{Rooms, "a-b", "", `has the character "-" (ids have a-z and 0-9)`},
		{Rooms, "1.5", "", `has the character "." (ids have a-z and 0-9)`},
		{"user", "u1", "", `targets: unknown kind "user" (known: users, chatgroups, chatrooms)`},
	} {
		got, err := Normalize(tt.kind, []byte("kept:"), []byte(tt.name))
		problem := ""
		if err != nil {
			problem = err.Error()
		}
		if string(got) != "kept:"+tt.want || problem != tt.problem {
			t.Errorf("Normalize(%s, %q) = %q, %q; want %q, %q", tt.kind, tt.name, got, problem, "kept:"+tt.want, tt.problem)
		}
	}
}

func TestNormalizeAllocatesNothing(t *testing.T) {
	dst, name := make([]byte, 0, MaxBytes), []byte("Some.User_Name-42")
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := Normalize(Users, dst, name); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func TestValidKind(t *testing.T) {
	for _, kind := range []string{Users, Groups, Rooms} {
		if err := ValidKind(kind); err != nil {
			t.Errorf("ValidKind(%q) = %v", kind, err)
		}
	}
	for _, kind := range []string{"", "Users", "groups"} {
		if ValidKind(kind) == nil {
			t.Errorf("ValidKind(%q) = nil, want an error", kind)
		}
	}
}
