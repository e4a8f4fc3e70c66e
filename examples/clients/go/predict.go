// Asks a model server over REST, with Go's own library.
//
//	go run predict.go https://HOST:PORT server.crt
//	go run predict.go http://127.0.0.1:PORT          through `adytum proxy`
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	client := &http.Client{}
	if len(os.Args) > 2 {
		certificate, err := os.ReadFile(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		// The server's certificate and no other authority.
		trusted := x509.NewCertPool()
		if !trusted.AppendCertsFromPEM(certificate) {
			log.Fatalf("%s has no certificate", os.Args[2])
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
	}

	request, err := json.Marshal(map[string]any{
		"inputs": map[string]any{"X": [][]float32{{5.1, 3.5, 1.4, 0.2}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	answer, err := client.Post(os.Args[1]+"/v1/models/iris:predict", "application/json", bytes.NewReader(request))
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		log.Fatalf("%s: %s", answer.Status, text)
	}
	var found struct {
		Outputs struct {
			Label       []int64     `json:"output_label"`
			Probability [][]float64 `json:"output_probability"`
		} `json:"outputs"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		log.Fatal(err)
	}
	largest := 0.0
	for _, probability := range found.Outputs.Probability[0] {
		if probability > largest {
			largest = probability
		}
	}
	fmt.Println("class", found.Outputs.Label[0], "probability", largest)
}
