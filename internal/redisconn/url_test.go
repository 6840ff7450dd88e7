package redisconn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	type want struct {
		Topology                 topology
		User, Password           string
		Hosts                    []string
		DB                       int
		Master, SUser, SPassword string
		TLS                      bool
		Addr                     string
	}
	for rawURL, w := range map[string]want{
		"redis://h": {Hosts: []string{"h:6379"}, Addr: "redis://h:6379/0"},
		" redis://127.0.0.1:6380/3\n": {
			Hosts: []string{"127.0.0.1:6380"}, DB: 3, Addr: "redis://127.0.0.1:6380/3",
		},
		"redis://[::1]/":         {Hosts: []string{"[::1]:6379"}, Addr: "redis://[::1]:6379/0"},
		"redis://[fe80::1]:7000": {Hosts: []string{"[fe80::1]:7000"}, Addr: "redis://[fe80::1]:7000/0"},
		"redis://:pw@h":          {Password: "pw", Hosts: []string{"h:6379"}, Addr: "redis://h:6379/0"},
		"redis://bob:p%40s%2Fs:%25w@h:1/0": {
			User: "bob", Password: "p@s/s:%w", Hosts: []string{"h:1"}, Addr: "redis://h:1/0",
		},
		"redis://bob:p@ss@h:1": {User: "bob", Password: "p@ss", Hosts: []string{"h:1"}, Addr: "redis://h:1/0"},
		"rediss://bob:pw@h:1/2": {
			User: "bob", Password: "pw", Hosts: []string{"h:1"}, DB: 2, TLS: true, Addr: "rediss://h:1/2",
		},
		"redis-sentinel://bob:pw@h1,h2:1,[::1]/4?master=main&sentinel_user=sam&sentinel_password=s%26w": {
			Topology: sentinel, User: "bob", Password: "pw", Hosts: []string{"h1:26379", "h2:1", "[::1]:26379"}, DB: 4,
			Master: "main", SUser: "sam", SPassword: "s&w", Addr: "redis-sentinel://h1:26379,h2:1,[::1]:26379/4?master=main",
		},
		"rediss-sentinel://h1?master=a%20b": {
			Topology: sentinel, Hosts: []string{"h1:26379"}, Master: "a b", TLS: true,
			Addr: "rediss-sentinel://h1:26379/0?master=a+b",
		},
		"redis-cluster://bob:pw@h1,h2:7001/0": {
			Topology: cluster, User: "bob", Password: "pw", Hosts: []string{"h1:6379", "h2:7001"},
			Addr: "redis-cluster://h1:6379,h2:7001",
		},
		"rediss-cluster://h1": {Topology: cluster, Hosts: []string{"h1:6379"}, TLS: true, Addr: "rediss-cluster://h1:6379"},
		"embedded":            {Topology: embedded, Hosts: []string{"127.0.0.1:6379"}, Addr: "redis://127.0.0.1:6379/0"},
		"embedded:0":          {Topology: embedded, Hosts: []string{"127.0.0.1:0"}, Addr: "redis://127.0.0.1:0/0"},
		"embedded:7000":       {Topology: embedded, Hosts: []string{"127.0.0.1:7000"}, Addr: "redis://127.0.0.1:7000/0"},
	} {
		parsed, err := parse(rawURL)
		if err != nil {
			t.Errorf("parse(%q) = %v", rawURL, err)
			continue
		}
		got := want{
			parsed.topology, parsed.user, parsed.password, parsed.hosts, parsed.db,
			parsed.params["master"], parsed.params["sentinel_user"], parsed.params["sentinel_password"],
			parsed.tls != nil, parsed.String(),
		}
		if diff := cmp.Diff(w, got); diff != "" {
			t.Errorf("parse(%q): %s", rawURL, diff)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for rawURL, want := range map[string]string{
		"":                                     "no known scheme (known: redis://",
		"localhost:6379":                       "no known scheme",
		"http://h":                             "no known scheme",
		"REDIS://h":                            "no known scheme",
		"embeddedly":                           "no known scheme",
		"redis://":                             "no valid host 1",
		"redis:///0":                           "no valid host 1",
		"redis://:6379":                        "no valid host 1",
		"redis://a b":                          "no valid host 1",
		"redis://::1":                          "no valid host 1",
		"redis://[::1":                         "no valid host 1",
		"redis://[h]:1":                        "no valid host 1",
		"redis-cluster://h1,,h2":               "no valid host 2",
		"redis-cluster://h1,h2:x":              "no port from 1 to 65535 in host 2",
		"redis://h:":                           "no port from 1 to 65535 in host 1",
		"redis://h:0":                          "no port from 1 to 65535",
		"redis://h:65536":                      "no port from 1 to 65535",
		"redis://h1,h2":                        "several hosts",
		"redis://h/x":                          "no database number",
		"redis://h/-1":                         "no database number",
		"redis://h/0/1":                        "no database number",
		"redis-cluster://h/1":                  "only database 0",
		"redis://h?ca=x":                       "unknown query parameter, number 1 (known with redis: none)",
		"rediss://h?ca=x&tls=1":                "unknown query parameter, number 2 (known with rediss: ca, cert, key)",
		"redis-sentinel://h":                   "no master=NAME",
		"redis-sentinel://h?master=":           `query parameter "master" empty`,
		"redis-sentinel://h?master=a&master=b": `query parameter "master" empty, twice`,
		"redis-sentinel://h?master=%zz":        "no escape",
		"redis-sentinel://h?master=a&db=1":     "number 2 (known with redis-sentinel: master, sentinel_user, sentinel_password)",
		"redis-sentinel://h?master=a&sentinel_user=b": "sentinel_user without",
		"redis://h#0":                       "fragment",
		"redis://bob@h":                     "user name without a password",
		"redis://bob:@h":                    "user name without a password",
		"redis://bob:%zz@h":                 "a % that is no escape",
		"redis://bob:p/w@h":                 "write / as %2F",
		"redis://bob:p@x/w@h":               "write / as %2F",
		"redis://bob:p?w@h":                 "? as %3F",
		"redis://bob:p#w@h":                 "# as %23",
		"embedded:":                         "embedded:PORT",
		"embedded:x":                        "embedded:PORT",
		"embedded:65536":                    "embedded:PORT",
		"rediss://h?cert=a":                 "only one of cert and key",
		"rediss://h?ca=nosuch.pem":          "bad ca: open nosuch.pem",
		"rediss://h?cert=no.pem&key=no.pem": "bad cert or key: open no.pem",
	} {
		err := Parse(rawURL)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "redisconn: the Redis URL has ") &&
			!strings.HasPrefix(err.Error(), "redisconn: the Redis URL is ") {
			t.Errorf("Parse(%q) = %v, want %s", rawURL, err, want)
		}
		if _, opened := Open(rawURL); opened == nil || opened.Error() != err.Error() {
			t.Errorf("Open(%q) = %v, but Parse says %v", rawURL, opened, err)
		}
	}
}

// Wherever a password stands, and whatever is in it that breaks the URL, no
// error shows any of its words.
func TestErrorsShowNoPassword(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := []string{"hunter", "sesame", "letmein"}
		password := words[0]
		for _, word := range words[1:] {
			password += rapid.SampledFrom(strings.Split(`:|/|?|#|@|,|&|=|%|%4|[|]|\|"| |;|://|?ca=|&cert=|&|embedded:`, "|")).Draw(t, "between") + word
		}
		form := rapid.SampledFrom([]string{
			"redis://PW@h", "redis://bob:PW@h:6379/0", "rediss://:PW@h", "redis-cluster://bob:PW@h1,h2",
			"redis-sentinel://bob:PW@h1?master=m", "redis-sentinel://h1?master=m&sentinel_password=PW",
			"redis-sentinel://h1?sentinel_password=PW&x", "bob:PW@h", "http://bob:PW@h", "redis:PW@h", "redis//:PW@h",
			"redis://h:PW@h:x", "redis://h?password=PW", "redis://h:6379/PW", "redis://h#PW", "PW", "embedded:PW",
			"redis://bob:PW@h/x", "redis://bob:PW@:6379", "redis://bob:PW@h,h", "redis://bob:PW",
		}).Draw(t, "form")
		rawURL := strings.ReplaceAll(form, "PW", password)
		parsed, err := parseURL(rawURL)
		shown := ""
		if err != nil {
			shown = err.Error()
		} else if !strings.Contains(password, "@") { // behind an @ stands a host, if it looks like one
			shown = parsed.String()
		}
		for _, word := range words {
			if strings.Contains(shown, word) {
				t.Fatalf("%q shows %q: %s", rawURL, word, shown)
			}
		}
	})
}

func TestTLSFiles(t *testing.T) {
	certFile, keyFile := writeCertificate(t)
	parsed, err := parse("rediss://h?ca=" + certFile + "&cert=" + certFile + "&key=" + keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.tls.RootCAs == nil || len(parsed.tls.Certificates) != 1 || parsed.tls.MinVersion != tls.VersionTLS12 {
		t.Errorf("%+v", parsed.tls)
	}
	if _, err := parse("rediss://h?ca=" + keyFile); err == nil || !strings.Contains(err.Error(), "no certificate in PEM form") {
		t.Errorf("a key as ca: %v", err)
	}
}

// writeCertificate makes a certificate for 127.0.0.1, signed by itself.
func writeCertificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", keyDER)
}
