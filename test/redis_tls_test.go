package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"crier/internal/chatsim"
	"crier/internal/redistest"
)

// authority is a private certificate authority.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.file, _ = a.make("authority", nil)
	return a
}

// sign makes a certificate for 127.0.0.1, for servers and clients.
func (a *authority) sign() (files redistest.Files) {
	a.t.Helper()
	files.CA = a.file
	files.Cert, files.Key = a.make("server", &net.IPNet{IP: net.IPv4(127, 0, 0, 1)})
	return files
}

// make makes a certificate, of the authority itself where it is for no address.
func (a *authority) make(name string, address *net.IPNet) (certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	parent, signer := a.cert, a.key
	if address == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = template, key
	} else {
		template.IPAddresses = []net.IP{address.IP}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if address == nil {
		if a.cert, err = x509.ParseCertificate(signed); err != nil {
			a.t.Fatal(err)
		}
		a.key = key
	}
	packed, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", signed), write("key.pem", "PRIVATE KEY", packed)
}

// A Redis that speaks only TLS, with a private authority, and only with those
// who show a certificate of it.
func TestRedisTLS(t *testing.T) {
	t.Parallel()
	files := newAuthority(t).sign()
	redis := redistest.StartTLS(t, files)
	if err := redis.Client().Do(t.Context(), "ACL", "SETUSER", "bob", "on", ">hunter2", "~*", "&*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	at := func(ca string, more ...string) string {
		return "REDIS_URL=rediss://bob:hunter2@" + redis.Addr + "/0?ca=" + ca + strings.Join(more, "")
	}
	shown := "&cert=" + files.Cert + "&key=" + files.Key
	w := newWorldOn(t, redis).with(at(files.CA, shown))
	worker, gateway := w.worker(), w.serve()
	w.send("--target", "u1", "--text", "hello", "--wait")
	gateway.wants(202, "POST", "/v1/jobs", sendTo("u2"))
	eventually(t, "all are sent to", func() bool { return len(w.journal(chatsim.Users)) == 2 })

	stranger := newAuthority(t).sign()
	// With TLS 1.3 a client may have begun to write when the server tells that it is not wanted.
	const refused = "tls: .*certificate|connection reset|broken pipe|EOF"
	for name, tt := range map[string]struct {
		url  string
		code int
		says string // regular expression
	}{
		"no authority":              {strings.Replace(at(""), "?ca=", "", 1), 1, "certificate signed by unknown authority"},
		"another authority":         {at(stranger.CA, shown), 1, "certificate signed by unknown authority"},
		"no certificate":            {at(files.CA), 1, refused},
		"another's certificate":     {at(files.CA, "&cert="+stranger.Cert, "&key="+stranger.Key), 1, refused},
		"another name":              {strings.Replace(at(files.CA, shown), "127.0.0.1", "localhost", 1), 1, "certificate is not valid for any names"},
		"no such file":              {at("nosuch.pem"), 2, "REDIS_URL: redisconn: the Redis URL has a bad ca: open nosuch.pem"},
		"a key as authority":        {at(files.Key), 2, "has no certificate in PEM form"},
		"a certificate without key": {at(files.CA, "&cert="+files.Cert), 2, "REDIS_URL: redisconn: the Redis URL has only one of cert and key"},
		"no TLS":                    {"REDIS_URL=redis://bob:hunter2@" + redis.Addr, 1, ""}, // the server hangs up,
	} {
		t.Run(name, func(t *testing.T) {
			got := w.in(t).with(tt.url).enqueue("list")
			if got.code != tt.code || !regexp.MustCompile(tt.says).MatchString(got.err) {
				t.Errorf("exit %d: %s", got.code, got.err)
			}
			if strings.Contains(got.out+got.err, "hunter2") {
				t.Error("it shows the password")
			}
		})
	}
	lost := w.with(at(stranger.CA, shown)).startWorker()
	url := lost.admin(t)
	eventually(t, "a worker with another authority says why it waits", func() bool {
		status, text := get(t, url+"/readyz")
		return status == 503 && strings.Contains(text, "certificate signed by unknown authority") &&
			strings.Contains(lost.err.String(), "certificate signed by unknown authority")
	})
	w.stop(worker)
	w.stop(lost)
	for _, p := range []*process{worker, lost, gateway.process} {
		if strings.Contains(p.err.String(), "hunter2") {
			t.Error("a log shows the password")
		}
	}
}
