// SPDX-License-Identifier: Apache-2.0

// Command client is a program as a user of the gateway would write it: on clients
// that are generated of its OpenAPI documents, without a word of HTTP. Package orders
// is that of an interface, and package gateway that of the gateway itself.
//
// It says "ok - …" for each thing that holds, and ends with 1 at the first that does
// not.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"example.org/client/gateway"
	"example.org/client/orders"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, os.Getenv("GATEWAY"), os.Getenv("FROM")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func identify(_ context.Context, req *http.Request) error {
	req.SetBasicAuth(os.Getenv("NAME"), os.Getenv("PASSWORD"))
	return nil
}

func run(ctx context.Context, url, from string) error {
	client, err := orders.NewClientWithResponses(url, orders.WithRequestEditorFn(identify))
	if err != nil {
		return err
	}
	yes := true

	made, err := client.ConstructorPostWithResponse(ctx, &orders.ConstructorPostParams{FlyFrom: &from, FlySync: &yes}, orders.ConstructorInputs{Name: "Corner shop"})
	if err != nil {
		return err
	}
	if made.JSON200 == nil || made.JSON200.ContractAddress == nil {
		return fmt.Errorf("deploy: %s %s", made.Status(), made.Body)
	}
	shop := *made.JSON200.ContractAddress
	fmt.Println("ok - a contract is deployed")

	label, err := client.LabelGetWithResponse(ctx, shop, &orders.LabelGetParams{})
	if err != nil {
		return err
	}
	if label.JSON200 == nil || label.JSON200.Output != "Corner shop" {
		return fmt.Errorf("label: %s %s", label.Status(), label.Body)
	}
	fmt.Println("ok - a method is called")

	order := orders.OrdersOrder{
		Buyer: from, Mark: "0x" + fmt.Sprintf("%064x", 7),
		Items: []orders.OrdersItem{{Name: "tea", Price: "16", Count: "2"}, {Name: "milk", Price: "3", Count: "5"}},
	}
	wei, id := "7", "made-by-a-generated-client"
	placed, err := client.PlacePostWithResponse(ctx, shop, &orders.PlacePostParams{FlyFrom: &from, FlyEthvalue: &wei, FlyId: &id}, orders.PlaceInputs{Order: order})
	if err != nil {
		return err
	}
	if a := placed.JSON202; a == nil || a.Sent == nil || !*a.Sent || a.Id == nil || *a.Id != id {
		return fmt.Errorf("place: %s %s", placed.Status(), placed.Body)
	}
	fmt.Println("ok - a transaction is sent")

	if err := replied(ctx, url, id); err != nil {
		return err
	}
	fmt.Println("ok - its reply is there")

	read, err := client.OrderOfGetWithResponse(ctx, shop, &orders.OrderOfGetParams{Number: "1"})
	if err != nil {
		return err
	}
	if read.JSON200 == nil || !read.JSON200.Known || len(read.JSON200.Order.Items) != 2 || read.JSON200.Order.Items[1] != order.Items[1] {
		return fmt.Errorf("order: %s %s", read.Status(), read.Body)
	}
	fmt.Println("ok - what was written is read")

	asked, err := client.PlaceGetWithResponse(ctx, shop, &orders.PlaceGetParams{Order: order, FlyFrom: &from})
	if err != nil {
		return err
	}
	if asked.JSON200 == nil || asked.JSON200.Number != "2" {
		return fmt.Errorf("simulated: %s %s", asked.Status(), asked.Body)
	}
	fmt.Println("ok - a transaction is tried without being sent")

	order.Items[0].Count = "101"
	refused, err := client.PlacePostWithResponse(ctx, shop, &orders.PlacePostParams{FlyFrom: &from}, orders.PlaceInputs{Order: order})
	if err != nil {
		return err
	}
	if e := refused.JSON400; e == nil || e.Revert == nil || e.Revert.Name == nil || *e.Revert.Name != "TooMany" {
		return fmt.Errorf("refused: %s %s", refused.Status(), refused.Body)
	}
	fmt.Println("ok - an error of the contract's own is told")
	return nil
}

// replied waits until the reply says that the transaction is mined.
func replied(ctx context.Context, url, id string) error {
	client, err := gateway.NewClientWithResponses(url, gateway.WithRequestEditorFn(identify))
	if err != nil {
		return err
	}
	for {
		reply, err := client.ShowReplyWithResponse(ctx, id)
		if err != nil {
			return err
		}
		if reply.JSON200 == nil {
			return fmt.Errorf("reply: %s %s", reply.Status(), reply.Body)
		}
		if reply.JSON200.Headers.Type == "TransactionSuccess" && reply.JSON200.Events != nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}
