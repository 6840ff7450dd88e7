package redisconn_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"crier/internal/redisconn"
	"crier/internal/redistest"
)

func TestCheckRealServer(t *testing.T) {
	for name, tt := range map[string]struct {
		opts []redistest.Option
		want redisconn.Facts
	}{
		"as it comes": {nil, redisconn.Facts{MaxMemoryPolicy: "noeviction", AppendOnly: "no"}},
		"AOF":         {[]redistest.Option{redistest.AOF()}, redisconn.Facts{MaxMemoryPolicy: "noeviction", AppendOnly: "yes"}},
		"limited": {
			[]redistest.Option{redistest.With("maxmemory", "64mb")},
			redisconn.Facts{MaxMemory: 64 << 20, MaxMemoryPolicy: "noeviction", AppendOnly: "no"},
		},
		"evicting, no limit yet": {
			[]redistest.Option{redistest.With("maxmemory-policy", "volatile-ttl")},
			redisconn.Facts{MaxMemoryPolicy: "volatile-ttl", MayEvict: true, AppendOnly: "no"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := open(t, redistest.StartReal(t, tt.opts...).URL).Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.Version == "" || got.Uptime < 0 {
				t.Errorf("version %q, up for %v", got.Version, got.Uptime)
			}
			if limited := tt.want.MaxMemory > 0; limited != (got.MemoryShare > 0 && got.MemoryShare < 1) {
				t.Errorf("%v of the memory is in use", got.MemoryShare)
			}
			got.Version, got.Uptime, got.MemoryShare, got.Load = "", 0, 0, redisconn.Load{}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// A user who may not ask is no reason to refuse the server.
func TestCheckRefused(t *testing.T) {
	s := redistest.StartReal(t)
	if err := s.Client().Do(t.Context(), "ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "-@dangerous").Err(); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, "redis://bob:pw@"+s.Addr).Check(t.Context())
	if err != nil || got != (redisconn.Facts{}) {
		t.Errorf("Check = %+v, %v; want nothing told and no error", got, err)
	}
}

// told starts a server that answers INFO with text.
func told(t *testing.T, text string) *redisconn.Conn {
	t.Helper()
	s := miniredis.RunT(t)
	s.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd != "INFO" {
			return false
		}
		c.WriteBulk(strings.ReplaceAll(text, "\n", "\r\n"))
		return true
	})
	return open(t, "redis://"+s.Addr())
}

func TestCheckVersions(t *testing.T) {
	for version, tooOld := range map[string]bool{
		"6.2.0": false, "6.2": false, "6.10.1": false, "7.0.15": false, "10.0.0": false, "255.255.255": false, "8.0-rc1": false,
		"6.1.9": true, "6.0.16": true, "5.0.14": true, "2.8.9999": true,
	} {
		conn := told(t, "# Server\nredis_version:"+version+"\nuptime_in_seconds:61\n")
		facts, err := conn.Check(t.Context())
		if facts.Version != version || facts.Uptime.Seconds() != 61 {
			t.Errorf("%s: %+v", version, facts)
		}
		var old *redisconn.TooOldError
		if errors.As(err, &old) != tooOld || err != nil && !tooOld {
			t.Errorf("%s: %v, want too old: %v", version, err, tooOld)
		}
		if want := "redisconn: the server is Redis " + version + ", at least 6.2 is needed"; tooOld && err.Error() != want {
			t.Errorf("%s: %q, want %q", version, err, want)
		}
	}
}

func TestCheckLoading(t *testing.T) {
	_, err := told(t, "redis_version:7.2.0\nloading:1\n").Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "loading") {
		t.Errorf("Check = %v", err)
	}
}

func TestTLS(t *testing.T) {
	certFile, keyFile := redisconn.WriteCertificate(t)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s, err := miniredis.RunTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	base := "rediss://" + s.Addr() + "?"
	setAndGet(t, open(t, base+"ca="+certFile+"&cert="+certFile+"&key="+keyFile))
	for name, query := range map[string]string{
		"a certificate of nobody known": "cert=" + certFile + "&key=" + keyFile,
		"no certificate to show":        "ca=" + certFile,
	} {
		if _, err := open(t, base+query).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: Check = %v, want an error about it", name, err)
		}
	}
}
