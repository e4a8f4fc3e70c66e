package main

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	routeroptions "github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/spf13/cobra"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// newNetworkPolicies is kube-router's controller of network policies alone:
// routes are the bridge's here, and services kube-proxy's. Its own command
// brings both, and with them many times as many packages.
func newNetworkPolicies() *cobra.Command {
	var kubeconfig string
	config := routeroptions.NewKubeRouterConfig()
	config.EnableIPv4 = true
	command := &cobra.Command{
		Use:          "network-policies",
		SilenceUsage: true,
		Args:         cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return enforcePolicies(kubeconfig, config)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&config.HostnameOverride, "node", "", "the node's name")
	command.Flags().StringSliceVar(&config.ClusterIPCIDRs, "service-range", nil, "the services' addresses")
	return command
}

func enforcePolicies(kubeconfig string, config *routeroptions.KubeRouterConfig) error {
	server, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(server)
	if err != nil {
		return err
	}
	stop := genericapiserver.SetupSignalHandler()
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	factory.Start(stop)
	for kind, synced := range factory.WaitForCacheSync(stop) {
		if !synced {
			return fmt.Errorf("%v can't be listed", kind)
		}
	}
	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	controller, err := netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, new(sync.Mutex), tables, sets)
	if err != nil {
		return err
	}
	handle := func(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) error {
		_, err := informer.AddEventHandler(handler)
		return err
	}
	if err := errors.Join(
		handle(pods, controller.PodEventHandler),
		handle(namespaces, controller.NamespaceEventHandler),
		handle(policies, controller.NetworkPolicyEventHandler),
	); err != nil {
		return err
	}
	// It reports that it lives; whoever reads this program's log sees that too.
	beats := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range beats {
		}
	}()
	var running sync.WaitGroup
	running.Add(1)
	go controller.Run(beats, stop, &running)
	running.Wait()
	return nil
}
