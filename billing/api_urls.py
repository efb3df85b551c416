"""The management API of keys and money, below /api/v1/."""

from __future__ import annotations

from django.urls import path

from billing import (
    api_alerts,
    api_cards,
    api_deposits,
    api_keys,
    api_limits,
    api_money,
    api_packages,
    api_topups,
    api_usage,
)

urlpatterns = [
    path("keys", api_keys.KeysView.as_view()),
    path("keys/<str:key_id>", api_keys.KeyView.as_view()),
    path("keys/<str:key_id>/rotate", api_keys.KeyRotateView.as_view()),
    path("keys/<str:key_id>/disable", api_keys.KeyDisableView.as_view()),
    path("keys/<str:key_id>/enable", api_keys.KeyEnableView.as_view()),
    path("balances", api_money.BalancesView.as_view()),
    path("transactions", api_money.TransactionsView.as_view()),
    path("usage", api_usage.UsageView.as_view()),
    path("limits", api_limits.LimitsView.as_view()),
    path("alerts", api_alerts.AlertsView.as_view()),
    path("crypto", api_deposits.CryptoView.as_view()),
    path("crypto/address", api_deposits.CryptoAddressView.as_view()),
    path("crypto/conversions", api_deposits.CryptoConversionsView.as_view()),
    path("deposits", api_deposits.DepositsView.as_view()),
    path("top-ups", api_topups.TopUpsView.as_view()),
    path("top-ups/<str:top_up_id>", api_topups.TopUpView.as_view()),
    path("top-ups/<str:top_up_id>/refunds", api_topups.RefundsView.as_view()),
    path("cards", api_cards.CardsView.as_view()),
    path("cards/<str:card_id>", api_cards.CardView.as_view()),
    path("billing-portal", api_cards.BillingPortalView.as_view()),
    path("auto-top-up", api_topups.AutoTopUpView.as_view()),
    path("token-packages", api_packages.PackagesView.as_view()),
    path("token-purchases", api_packages.PurchasesView.as_view()),
]
