// standin answers for the kubelets and pods of all nodes of a test cluster, by replaying what a recording holds.
//
// The API server reaches it as an HTTP CONNECT proxy on a Unix socket (its egress selector for "cluster"), so addresses
// stay as they were recorded and nothing leaves the machine: CONNECT address:10250 is that node's kubelet, any other
// port a plain HTTP server of the pod or node with that address. The replay file is read anew whenever it changes.
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	rc "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

const kubeletPort = "10250"

// command is one answer to one argv.
type command struct {
	Argv   []string `json:"argv"`
	Stdout string   `json:"stdout"` // file
	Stderr string   `json:"stderr"`
	Exit   int      `json:"exit"`
	Delay  float64  `json:"delay"` // seconds before it answers
	Hang   bool     `json:"hang"`  // never ends by itself
	Flood  bool     `json:"flood"` // prints without end
	Die    bool     `json:"die"`   // the connection breaks after the output
}

// host is what answers at one address.
type host struct {
	Exec []command                    `json:"exec"`
	Logs map[string]string            `json:"logs"` // namespace/pod/container -> file
	HTTP map[string]map[string]string `json:"http"` // port -> path -> file
	Down bool                         `json:"down"` // refuses connections
	Mute bool                         `json:"mute"` // takes connections and says nothing
}

type replay struct {
	file  string
	mu    sync.Mutex
	stamp time.Time
	hosts map[string]*host
}

// reached is the host of a request; on a connection that was opened before the host went down, it breaks.
func (s *standin) reached(r *http.Request) *host {
	h := s.replay.host(at(r).address)
	if h == nil || h.Down {
		panic(http.ErrAbortHandler)
	}
	return h
}

func (r *replay) host(address string) *host {
	r.mu.Lock()
	defer r.mu.Unlock()
	if info, err := os.Stat(r.file); err == nil && info.ModTime() != r.stamp {
		var read struct {
			Hosts map[string]*host `json:"hosts"`
		}
		data, err := os.ReadFile(r.file)
		if err == nil {
			err = json.Unmarshal(data, &read)
		}
		if err != nil {
			log.Printf("%s: %v", r.file, err)
		} else {
			r.hosts, r.stamp = read.Hosts, info.ModTime()
		}
	}
	return r.hosts[address]
}

// dialled is a connection with the address and port that were asked for.
type dialled struct {
	net.Conn
	address, port string
}

type listener struct {
	conns chan net.Conn
	at    net.Addr
}

func (l *listener) Accept() (net.Conn, error) { return <-l.conns, nil }
func (l *listener) Close() error              { return nil }
func (l *listener) Addr() net.Addr            { return l.at }

type key struct{}

func at(r *http.Request) *dialled { return r.Context().Value(key{}).(*dialled) }

func remember(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, key{}, c)
}

type standin struct{ replay *replay }

// executor runs the commands of one node.
type executor struct{ host *host }

func (e executor) ExecInContainer(ctx context.Context, pod, uid, container string, argv []string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan rc.TerminalSize, timeout time.Duration) error {
	var limit time.Duration
	if len(argv) > 4 && argv[0] == "timeout" { // timeout -s KILL SECONDS …
		seconds, _ := strconv.Atoi(argv[3])
		limit, argv = time.Duration(seconds)*time.Second, argv[4:]
	}
	i := slices.IndexFunc(e.host.Exec, func(c command) bool { return slices.Equal(c.Argv, argv) })
	if i < 0 {
		return missing(argv[0], limit > 0, errw)
	}
	c := e.host.Exec[i]
	time.Sleep(time.Duration(c.Delay * float64(time.Second)))
	if c.Stdout != "" {
		f, err := os.Open(c.Stdout)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(out, f); err != nil {
			return err
		}
	}
	io.WriteString(errw, c.Stderr)
	if c.Die {
		return errors.New("error reading from the runtime: connection reset by peer")
	}
	for start := time.Now(); c.Hang || c.Flood; {
		if limit > 0 && time.Since(start) > limit {
			c.Exit = 137
			break
		}
		if !c.Flood {
			time.Sleep(20 * time.Millisecond)
		} else if _, err := out.Write([]byte(strings.Repeat("a line of a flood\n", 2000))); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return status(c.Exit)
}

// missing is what containerd says of a program that is not there, or `timeout` where it was asked to run it.
func missing(program string, guarded bool, errw io.Writer) error {
	if guarded {
		fmt.Fprintf(errw, "timeout: failed to run command '%s': No such file or directory\n", program)
		return status(127)
	}
	return fmt.Errorf("failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to start container process: exec: %q: executable file not found in $PATH", program)
}

func status(exit int) error {
	if exit == 0 {
		return nil
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", exit), Code: exit}
}

func (s *standin) exec(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(r.URL.Path, "/")
	options, err := rc.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	run := executor{s.reached(r)}
	rc.ServeExec(w, r, run, path[3], "", path[len(path)-1], r.URL.Query()["command"], options, time.Hour, 30*time.Second, rc.SupportedStreamingProtocols)
}

func (s *standin) logs(w http.ResponseWriter, r *http.Request) {
	file, ok := s.reached(r).Logs[strings.TrimPrefix(r.URL.Path, "/containerLogs/")]
	if !ok {
		http.Error(w, "container log not found", http.StatusInternalServerError)
		return
	}
	data, err := os.ReadFile(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	lines := strings.SplitAfter(string(data), "\n")
	if tail, err := strconv.Atoi(r.URL.Query().Get("tailLines")); err == nil && tail < len(lines)-1 {
		lines = lines[len(lines)-1-tail:]
	}
	io.WriteString(w, strings.Join(lines, ""))
}

func (s *standin) page(w http.ResponseWriter, r *http.Request) {
	file, ok := s.reached(r).HTTP[at(r).port][r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeFile(w, r, file)
}

// proxy takes CONNECT requests and hands their connections to the server of the port.
func (s *standin) proxy(c net.Conn, kubelet, pages chan<- net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil || request.Method != http.MethodConnect {
		c.Close()
		return
	}
	address, port, _ := net.SplitHostPort(request.Host)
	h := s.replay.host(address)
	if h == nil || h.Down || (port != kubeletPort && h.HTTP[port] == nil) {
		io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		c.Close()
		return
	}
	if h.Mute {
		time.Sleep(time.Hour)
	}
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	to := pages
	if port == kubeletPort {
		to = kubelet
	}
	to <- &dialled{c, address, port}
}

func certificate() tls.Certificate {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &private.PublicKey, private)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

func main() {
	socket := flag.String("socket", "", "Unix socket to listen on")
	file := flag.String("replay", "", "JSON file of what to answer")
	flag.Parse()
	s := &standin{&replay{file: *file}}
	l, err := net.Listen("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	kubelet, pages := &listener{make(chan net.Conn), l.Addr()}, &listener{make(chan net.Conn), l.Addr()}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/", s.exec)
	mux.HandleFunc("/containerLogs/", s.logs)
	secure := &http.Server{Handler: mux, ConnContext: remember, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	secure.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate()}}
	go secure.ServeTLS(kubelet, "", "")
	go (&http.Server{Handler: http.HandlerFunc(s.page), ConnContext: remember}).Serve(pages)
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go s.proxy(c, kubelet.conns, pages.conns)
	}
}
