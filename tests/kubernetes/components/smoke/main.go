// The program of the smoke check: a static server that tells what it finds
// around itself, and the client that asks it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const answerLimit = 1 << 20

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		err = serve(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "fetch":
		var answer string
		if answer, err = fetch(context.Background(), os.Args[2]); err == nil {
			fmt.Println(answer)
		}
	default:
		err = errors.New("usage: smoke serve ADDRESS | smoke fetch URL")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}

func serve(address string) error {
	var live, ready probe
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	handlers := http.NewServeMux()
	handlers.HandleFunc("GET /name", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, host)
	})
	handlers.HandleFunc("GET /live", live.answer)
	handlers.HandleFunc("GET /ready", ready.answer)
	// The check turns them off and on.
	handlers.HandleFunc("GET /live/{to}", live.set)
	handlers.HandleFunc("GET /ready/{to}", ready.set)
	handlers.HandleFunc("GET /around", func(w http.ResponseWriter, _ *http.Request) {
		found, err := around()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(found)
	})
	handlers.HandleFunc("GET /burn", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%.3f", burn(3*time.Second))
	})
	// Ask another service from here, by its name in the cluster.
	handlers.HandleFunc("GET /ask", func(w http.ResponseWriter, r *http.Request) {
		answer, err := fetch(r.Context(), r.URL.Query().Get("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, answer)
	})
	server := &http.Server{Addr: address, Handler: handlers, ReadHeaderTimeout: 5 * time.Second}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ends
		limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(limit)
	}()
	fmt.Println("smoke server listening on", address)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// probe is what the kubelet asks; it answers well until it is set to "no".
type probe struct{ off atomic.Bool }

func (p *probe) answer(w http.ResponseWriter, _ *http.Request) {
	if p.off.Load() {
		http.Error(w, "off", http.StatusServiceUnavailable)
	}
}

func (p *probe) set(_ http.ResponseWriter, r *http.Request) {
	p.off.Store(r.PathValue("to") == "no")
}

// around tells what the pod's description was turned into.
func around() (map[string]string, error) {
	found := map[string]string{"uid": fmt.Sprint(os.Getuid())}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(status), "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Seccomp", "NoNewPrivs", "CapEff", "CapBnd":
			found[name] = strings.TrimSpace(value)
		}
	}
	for name, folder := range map[string]string{"root": "/", "memory": "/memory", "state": "/state"} {
		found[name] = folderKind(folder)
	}
	return found, nil
}

// folderKind writes to a folder and tells how that went and what it lies on.
func folderKind(folder string) string {
	var system syscall.Statfs_t
	if err := syscall.Statfs(folder, &system); err != nil {
		return err.Error()
	}
	kind := "disk"
	const tmpfs = 0x01021994
	if int64(system.Type) == tmpfs {
		kind = "memory"
	}
	file := filepath.Join(folder, "written")
	err := os.WriteFile(file, []byte("written"), 0o600)
	switch {
	case errors.Is(err, syscall.EROFS):
		return kind + ", read-only"
	case err != nil:
		return kind + ", " + err.Error()
	}
	return kind + ", writable"
}

// burn keeps every core busy for a while and tells how many cores' worth of
// CPU time the process really got.
func burn(wall time.Duration) float64 {
	before, start := cpuTime(), time.Now()
	done := make(chan struct{})
	cores := runtime.NumCPU()
	for range cores {
		go func() {
			for time.Since(start) < wall {
			}
			done <- struct{}{}
		}()
	}
	for range cores {
		<-done
	}
	return (cpuTime() - before).Seconds() / time.Since(start).Seconds()
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", url, response.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
