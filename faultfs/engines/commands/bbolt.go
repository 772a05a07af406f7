// bbolt put|nosync|check: each put is a transaction with a value in pages of its own, and is acknowledged.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

var bucket = []byte("items")

func value(key string) []byte { return bytes.Repeat([]byte(key+" "), 1000) }

func fail(how string, why interface{}) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", how, why)
	os.Exit(1)
}

func put(db *bbolt.DB, key string) {
	err := db.Update(func(tx *bbolt.Tx) error {
		items, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return items.Put([]byte(key), value(key))
	})
	if err != nil {
		fail("put", err)
	}
	fmt.Println("put", key)
}

func check(db *bbolt.DB) {
	err := db.View(func(tx *bbolt.Tx) error {
		for problem := range tx.Check() {
			fail("corrupt", problem)
		}
		items := tx.Bucket(bucket)
		if items != nil {
			items.ForEach(func(key, found []byte) error {
				if !bytes.Equal(found, value(string(key))) {
					fail("corrupt", string(key))
				}
				return nil
			})
		}
		output, err := os.Open(os.Getenv("FAULTFS_OUTPUT"))
		if err != nil {
			return err
		}
		for lines := bufio.NewScanner(output); lines.Scan(); {
			key := strings.TrimPrefix(lines.Text(), "put ")
			if items == nil || items.Get([]byte(key)) == nil {
				fail("lost", key)
			}
		}
		return nil
	})
	if err != nil {
		fail("corrupt", err)
	}
}

func main() {
	db, err := bbolt.Open("app.db", 0600, &bbolt.Options{Timeout: time.Second, NoSync: os.Args[1] == "nosync"})
	if err != nil {
		fail("unopenable", err)
	}
	defer db.Close()
	if os.Args[1] == "check" {
		check(db)
		return
	}
	for id := 0; id < 6; id++ {
		put(db, fmt.Sprint("key-", id))
	}
}
