"""Protobuf to JSON: one shape for each resource, in responses, stream events and pages.

The types are the documented schemas of the API; mypy holds each function to its type.
"""

from __future__ import annotations

from gateway.views.accounts import (
    ASSIGNABLE_ROLES,
    BREAK_PATH,
    CONNECTIONS_PATH,
    DASHBOARD_PATH,
    DATA_EXPORT_PATH,
    DELETION_PATH,
    DEMO_PATH,
    JOB_EMAILS,
    NOTICE_CATEGORIES,
    NOTIFICATION_SETTINGS_PATH,
    PROFILE_PATH,
    SECURITY_PATH,
    SESSIONS_PATH,
    THEMES,
    TOKENS_PATH,
    EmailChange,
    JobEmails,
    Me,
    NoticeCategory,
    NotificationSettings,
    Profile,
    Role,
    Security,
    SecurityEvent,
    Session,
    Theme,
    User,
    email_change,
    me,
    notification_settings,
    profile,
    security,
    security_event,
    session,
    user,
)
from gateway.views.api_tokens import SCOPES as API_TOKEN_SCOPES
from gateway.views.api_tokens import ApiToken, ApiTokenScope, api_token
from gateway.views.connections import (
    CONNECTION_TRANSITIONAL,
    Connection,
    ConnectionStatus,
    connection,
    connection_state,
)
from gateway.views.content import (
    INTERACTION_KINDS,
    SENTIMENTS,
    Content,
    ContentItem,
    Dashboard,
    Interaction,
    InteractionKind,
    Interactions,
    Sentiment,
    content,
    dashboard,
    interactions,
)
from gateway.views.demo import (
    DEMO_STATES,
    DEMO_TRANSITIONAL,
    DemoAccepted,
    DemoExample,
    DemoState,
    DemoStatus,
    demo_accepted,
    demo_example,
    demo_state,
    demo_status,
)
from gateway.views.jobs import (
    BULK,
    FINISHED,
    JOB_STATE_NUMBERS,
    JOB_STATES,
    LEGACY,
    UNSTOPPABLE,
    Attempt,
    Checkpoint,
    Job,
    JobHistory,
    Jobs,
    JobStatus,
    Transition,
    job,
    job_history,
    job_state,
    jobs,
    progress,
)
from gateway.views.notifications import (
    Notification,
    Notifications,
    NotificationsRead,
    notification,
    notifications,
    notifications_read,
)
from gateway.views.passkeys import Ceremony, Passkey, Passkeys, ceremony, passkey, passkeys
from gateway.views.times import ErrorInfo, Json, optional_time, time
